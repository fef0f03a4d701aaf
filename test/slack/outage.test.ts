import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { hasButtons, type SlackWorld, slackWorld, textOf } from './world.ts'

let world: SlackWorld
let erin: SubjectFacts
let dana: SubjectFacts

beforeAll(async () => {
  world = await slackWorld()
  erin = await world.bound('U0ERIN', ['engineers'])
  dana = await world.bound('U0DANA', ['dbas'])
})
afterAll(() => world.close())
beforeEach(() => world.standIn.setOutage('none'))

const rows = (id: string) =>
  world.test.database.sql<
    { purpose: string; ts: string | null; attempts: number; last_error: string | null; wait_s: number }[]
  >`
    select purpose, ts, attempts, last_error, extract(epoch from next_try_at - now())::float as wait_s from slack_messages where request_id = ${id} order by purpose`
const due = () => world.test.database.sql`update slack_messages set next_try_at = now()`
async function askOnWeb(): Promise<string> {
  const answer = await world.ask(erin, { via: 'web' })
  if (answer.refused) throw new Error(answer.message)
  await world.slack.requestChanged(answer.request.id)
  return answer.request.id
}

describe('AP12: Slack is down', () => {
  test('AP12: the request stays pending, waits longer each time, and the message arrives when Slack is back', async () => {
    for (const mode of ['down', 'error'] as const) {
      world.standIn.setOutage(mode)
      const id = await askOnWeb()
      const waits: number[] = []
      for (let n = 0; n < 4; n++) {
        const [row] = await rows(id)
        expect(row).toMatchObject({ ts: null, attempts: n + 1 })
        expect(row!.last_error).toBeTruthy()
        waits.push(row!.wait_s)
        await due()
        await world.slack.sweep()
      }
      expect(waits).toEqual([...waits].sort((a, b) => a - b))
      expect((await world.request(id)).state).toBe('pending')
      world.standIn.setOutage('none')
      await due()
      await world.slack.sweep()
      expect(hasButtons(await world.posted(id))).toBe(true)
      expect(await rows(id)).toMatchObject([{ attempts: 0, last_error: null }])
    }
  })

  test('AP12: a 429 is honoured: nothing more is sent until the time that Slack names', async () => {
    world.standIn.setOutage('ratelimited', 2)
    const id = await askOnWeb()
    const [row] = await rows(id)
    expect(row!.last_error).toContain('2 s')
    expect(row!.wait_s).toBeGreaterThan(1)
    const before = world.standIn.calls.get('chat.postMessage')
    await due()
    await world.slack.sweep()
    await world.slack.sweep()
    expect(world.standIn.calls.get('chat.postMessage')).toBe(before)
    world.standIn.setOutage('none')
    await new Promise(resolve => setTimeout(resolve, 2100))
    await due()
    await world.slack.sweep()
    expect(hasButtons(await world.posted(id))).toBe(true)
  })

  test('AP12: the web path works meanwhile, and Slack shows only the outcome when it is back', async () => {
    world.standIn.setOutage('down')
    const id = await askOnWeb()
    const counted = await world.approvals.vote({ request_id: id, approver: dana, answer: 'approve', via: 'web' })
    expect(counted).toMatchObject({ refused: false, state: 'approved' })
    await world.slack.requestChanged(id)
    const before = world.inChannel().length
    world.standIn.setOutage('none')
    await new Promise(resolve => setTimeout(resolve, 50))
    await due()
    await world.slack.sweep()
    const news = world.inChannel().slice(before)
    expect(news.map(textOf).join()).toContain('Approved by dan')
    expect(news.some(hasButtons)).toBe(false)
    expect(world.standIn.messages({ channel: 'U0ERIN' }).map(textOf).at(-1)).toContain('sallyport connect shop-db')
  })

  test('AP12: a click while Slack’s API is down still counts', async () => {
    const id = await askOnWeb()
    const message = await world.posted(id)
    world.standIn.setOutage('down')
    await world.standIn.click('U0DANA', message, 'approve')
    await expect.poll(() => world.request(id).then(r => r.state)).toBe('approved')
    expect(hasButtons(message)).toBe(true)
    world.standIn.setOutage('none')
    await expect
      .poll(async () => {
        await due()
        await world.slack.sweep()
        return hasButtons(message)
      })
      .toBe(false)
  })

  test('a message that was deleted in Slack does not keep the outbox busy', async () => {
    const id = await askOnWeb()
    const message = await world.posted(id)
    await world.test.database.sql`update slack_messages set ts = '1.000001' where request_id = ${id}`
    await world.approvals.vote({ request_id: id, approver: dana, answer: 'deny', via: 'web' })
    await world.slack.requestChanged(id)
    expect((await rows(id)).find(row => row.purpose === 'approvers:0')?.last_error).toBe('message_not_found')
    const before = world.standIn.calls.get('chat.update')
    await world.slack.sweep()
    expect(world.standIn.calls.get('chat.update')).toBe(before)
    expect(message.edited).toBe(false)
  })

  test('two processes deliver each message once', async () => {
    world.standIn.setOutage('down')
    const ids = [await askOnWeb(), await askOnWeb()]
    world.standIn.setOutage('none')
    await due()
    const before = world.standIn.calls.get('chat.postMessage') ?? 0
    const { createSlack } = await import('../../src/slack/slack.ts')
    const other = createSlack(world.deps)
    await Promise.all([world.slack.sweep(), other.sweep(), other.sweep()])
    for (const id of ids) await world.posted(id)
    expect((world.standIn.calls.get('chat.postMessage') ?? 0) - before).toBe(2)
  })
})
