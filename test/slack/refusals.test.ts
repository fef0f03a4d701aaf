import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { optionOf } from '../../src/slack/modal.ts'
import { refusalOf } from '../../src/slack/verify.ts'
import { hasButtons, type SlackWorld, slackWorld, teamId, textOf } from './world.ts'

let world: SlackWorld
let dana: SubjectFacts

beforeAll(async () => {
  world = await slackWorld()
  await world.bound('U0ERIN', ['engineers'])
  await world.bound('U0ELI', ['engineers'])
  dana = await world.bound('U0DANA', ['dbas', 'engineers'])
})
afterAll(() => world.close())

const seconds = (off: number) => String(Math.floor(Date.now() / 1000) + off)
const form = (values: Record<string, string>) => new URLSearchParams(values).toString()
const command = (over: Record<string, string> = {}) =>
  form({
    command: '/access',
    text: 'help',
    team_id: teamId,
    user_id: 'U0ERIN',
    channel_id: 'C1',
    trigger_id: 'x',
    ...over,
  })
const votes = async (id: string) => (await world.request(id)).votes
const lastRefusal = async (type: 'slack.refused' | 'vote.refused') => (await world.events(type)).at(-1)?.body

describe('AP1–AP3: only what Slack signed, now, once', () => {
  test('AP1: a request that is 301 s old or 301 s ahead is refused, one within is not', async () => {
    for (const off of [-301, 301, -4000, 4000]) {
      const timestamp = seconds(off)
      expect((await world.standIn.send(command(), { timestamp })).status, `${off} s`).toBe(401)
    }
    for (const off of [-290, 0, 290])
      expect((await world.standIn.send(command(), { timestamp: seconds(off) })).status).toBe(200)
  })

  test('AP1: the clock that counts is the database’s', async () => {
    world.setClock(400_000)
    expect((await world.standIn.send(command())).status).toBe(401)
    world.setClock(0)
    expect((await world.standIn.send(command({ text: 'help me' }))).status).toBe(200)
  })

  test('AP2: an exact repetition has no second effect', async () => {
    const id = await world.askInSlack('U0ERIN')
    const message = await world.posted(id)
    const payload = {
      type: 'block_actions',
      team: { id: teamId },
      user: { id: 'U0ELI', team_id: teamId },
      container: { type: 'message', message_ts: message.ts, channel_id: message.channel },
      channel: { id: message.channel },
      trigger_id: 'x',
      actions: [{ type: 'button', action_id: 'approve', block_id: 'answer', value: buttonOf(message), action_ts: '1' }],
    }
    const body = form({ payload: JSON.stringify(payload) })
    const timestamp = seconds(0)
    expect((await world.standIn.send(body, { timestamp })).status).toBe(200)
    await expect.poll(() => world.told('U0ELI').length).toBe(2) // how Eli was linked, and that the click did not count
    const before = (await world.events()).length
    for (let n = 0; n < 3; n++) expect((await world.standIn.send(body, { timestamp })).status).toBe(200)
    expect(await world.events()).toHaveLength(before)
    expect(world.told('U0ELI')).toHaveLength(2)
  })

  test('AP2: the same request twice at once is done once', async () => {
    const { code } = await world.identity.createLinkCode(dana.id)
    const body = command({ text: `link ${code}`, user_id: 'U0DANA' })
    const timestamp = seconds(0)
    const answers = await Promise.all(Array.from({ length: 8 }, () => world.standIn.send(body, { timestamp })))
    expect(answers.map(a => a.status)).toEqual(Array(8).fill(200))
    expect(answers.filter(a => a.body.includes('now acts as'))).toHaveLength(1)
    expect(answers.filter(a => a.body === '')).toHaveLength(7)
  })

  test('AP3: malformed signatures and changed bodies are refused with 401, and nothing crashes', async () => {
    const body = command()
    const timestamp = seconds(0)
    const good = world.standIn.sign(timestamp, body)
    const bad = [
      '',
      'v0',
      'v0=',
      'v0=abc',
      good.replace('v0=', 'v1='),
      good.slice(0, -1),
      good + '0',
      good.toUpperCase(),
      'v0=' + 'é'.repeat(64),
      ' '.repeat(10),
    ]
    for (const signature of bad) {
      const headers = /^[\x20-\x7e]*$/.test(signature) ? signature : Buffer.from(signature).toString('latin1')
      expect((await world.standIn.send(body, { timestamp, signature: headers })).status, signature).toBe(401)
    }
    const reserialised = form(Object.fromEntries([...new URLSearchParams(body)].reverse()))
    expect((await world.standIn.send(reserialised, { timestamp, signature: good })).status).toBe(401)
    for (const stamp of ['', 'now', '-1', '1e9', `${timestamp} `.repeat(2), '9'.repeat(30)]) {
      expect((await world.standIn.send(body, { timestamp: stamp, signature: good })).status, stamp).toBe(401)
    }
    expect((await world.standIn.send(body, { timestamp, signature: good })).status).toBe(200)
    expect(
      refusalOf({ timestamp: undefined, signature: undefined, body: Buffer.alloc(0) }, world.signingSecret, Date.now()),
    ).toContain('missing')
  })

  test('AP3: signed junk is refused by shape, and the process lives', async () => {
    const junk: [string, string | undefined, number][] = [
      ['payload=%7B', undefined, 400],
      ['payload=null', undefined, 400],
      ['[1]', 'application/json', 400],
      ['{', 'application/json', 400],
      ['x', 'text/plain', 400],
      [form({ payload: '{"type":"block_actions"}' }), undefined, 403],
      [
        form({
          payload: JSON.stringify({ type: 'block_actions', team: { id: teamId }, user: { id: 'U0ERIN' }, actions: [] }),
        }),
        undefined,
        404,
      ],
      [command({ command: '/other' }), undefined, 404],
      ['a'.repeat(200_000), undefined, 413],
    ]
    for (const [body, contentType, status] of junk) {
      const sent = await world.standIn.send(body, contentType === undefined ? {} : { contentType })
      expect(sent.status, body.slice(0, 40)).toBe(status)
    }
    const hello = await world.standIn.send(JSON.stringify({ type: 'url_verification', challenge: 'abc' }), {
      contentType: 'application/json',
    })
    expect(JSON.parse(hello.body)).toEqual({ challenge: 'abc' })
  })
})

describe('AP4–AP8: whose click, on which button', () => {
  test('AP4: a member of the workspace who is no approver is refused, told why, and it is an event', async () => {
    const id = await world.askInSlack('U0ERIN')
    const message = await world.posted(id)
    const before = world.told('U0ELI').length
    await world.standIn.click('U0ELI', message, 'approve')
    await expect.poll(() => world.told('U0ELI').length).toBe(before + 1)
    expect(world.told('U0ELI').at(-1)).toContain('you are not among the approvers of this stage (approve.default')
    expect(await lastRefusal('vote.refused')).toMatchObject({ request_id: id, via: 'slack', answer: 'approve' })
    expect(await votes(id)).toEqual([])
    expect(hasButtons(message)).toBe(true)
  })

  test('AP4: an account that is linked to nobody is refused, and it is an event', async () => {
    const id = await world.askInSlack('U0ERIN')
    await world.standIn.click('U0SAM', await world.posted(id), 'approve')
    await expect.poll(() => world.told('U0SAM').at(-1)).toContain('not linked to anybody')
    expect(await lastRefusal('slack.refused')).toMatchObject({ why: 'not linked', user_id: 'U0SAM', request_id: id })
    expect(await votes(id)).toEqual([])
  })

  test('AP6: nobody approves a request of their own, in Slack either', async () => {
    const id = await world.askInSlack('U0DANA', { role: optionOf('writer') })
    await world.standIn.click('U0DANA', await world.posted(id), 'approve')
    await expect.poll(() => world.told('U0DANA').at(-1)).toContain('nobody answers a request of their own')
    expect(await votes(id)).toEqual([])
  })

  test('AP7: the same user id of another workspace, a name or an address make nobody an approver', async () => {
    const id = await world.askInSlack('U0ERIN')
    const message = await world.posted(id)
    const clicks = [
      { user: { id: 'U0DANA', team_id: 'T0OTHER', username: 'dana' } },
      { team: { id: 'T0OTHER' } },
      { team: { id: 'T0OTHER' }, user: { id: 'U0DANA', team_id: 'T0OTHER' } },
    ]
    for (const change of clicks)
      expect((await world.standIn.click('U0DANA', message, 'approve', change)).status).toBe(403)
    expect(await lastRefusal('slack.refused')).toMatchObject({ why: 'another workspace', team_id: 'T0OTHER' })
    await world.standIn.click('U0SAM', message, 'approve', {
      user: { id: 'U0SAM', team_id: teamId, username: 'dana', name: 'dana', profile: { email: 'dana@example.test' } },
    })
    await expect.poll(() => world.told('U0SAM').at(-1)).toContain('not linked')
    expect((await world.standIn.send(command({ team_id: 'T0OTHER' }))).status).toBe(403)
    expect(await votes(id)).toEqual([])
  })

  test('AP8: a button that names another request, another content or nothing of ours changes nothing', async () => {
    const id = await world.askInSlack('U0ERIN')
    const other = await world.askInSlack('U0ELI', { role: optionOf('writer') })
    const [message, otherMessage] = [await world.posted(id), await world.posted(other)]
    const press = (value: unknown, more: Record<string, unknown> = {}) => ({
      actions: [{ type: 'button', action_id: 'approve', block_id: 'answer', value, action_ts: '1', ...more }],
    })
    const before = world.told('U0DANA').length
    const changes = [
      press(buttonOf(otherMessage)), // the other request, pressed on this message
      press(`${id}:${'0'.repeat(64)}`), // not what is asked
      press(`${id}:${buttonOf(otherMessage).split(':')[1]}`),
      press(`${id}:admin:99999`),
      press(undefined),
      press(buttonOf(message), {
        type: 'static_select',
        value: undefined,
        selected_option: { value: buttonOf(message) },
      }),
    ]
    for (const change of changes) await world.standIn.click('U0DANA', message, 'approve', change)
    await expect.poll(() => world.told('U0DANA').length).toBe(before + changes.length)
    await world.standIn.click('U0DANA', message, 'approve', {
      container: { type: 'message', message_ts: otherMessage.ts, channel_id: otherMessage.channel },
    })
    await expect.poll(() => world.told('U0DANA').at(-1)).toContain('does not belong to that request')
    expect((await world.request(id)).state).toBe('pending')
    expect((await world.request(other)).state).toBe('pending')
    expect(await votes(id)).toEqual([])

    await world.standIn.click('U0DANA', message, 'approve', {
      ...press(buttonOf(message), { action_id: 'grant_admin' }),
    })
    expect(await votes(id)).toEqual([])
  })

  test('AP8: a second click, and one on a request that is over, has no effect and says so', async () => {
    const id = await world.askInSlack('U0ERIN')
    const message = await world.posted(id)
    const stale = { ...message, blocks: structuredClone(message.blocks) }
    await world.standIn.click('U0DANA', stale, 'approve')
    await expect.poll(() => world.request(id).then(r => r.state)).toBe('approved')
    await world.standIn.click('U0DANA', stale, 'deny')
    await expect.poll(() => world.told('U0DANA').at(-1)).toContain('this request is approved already')
    expect(await votes(id)).toHaveLength(1)
  })
})

describe('AP13: text of people is text', () => {
  test('AP13: mentions, links and formatting in a reason, a name or a ticket stay as they were typed', async () => {
    const reason =
      '<!channel> *Approved by* <@U0DANA> <https://evil.example|approved> :white_check_mark:\n*Approved by security*'
    const id = await world.askInSlack('U0ERIN', { reason, ticket: '<!here> & *x*' })
    const message = await world.posted(id)
    expect(textOf(message)).toContain(reason)
    const objects: { type: string; text: string; emoji?: boolean }[] = []
    const walk = (value: unknown): void => {
      if (Array.isArray(value)) value.forEach(walk)
      else if (typeof value === 'object' && value !== null) {
        const object = value as Record<string, unknown>
        if (typeof object['text'] === 'string' && typeof object['type'] === 'string') objects.push(object as never)
        Object.values(object).forEach(walk)
      }
    }
    walk(message.blocks)
    expect(objects.length).toBeGreaterThan(5)
    // `text` is an element of rich text, which Slack shows as it is; `mrkdwn` is what it would interpret
    for (const object of objects) {
      if (object.type !== 'text') expect(object).toMatchObject({ type: 'plain_text', emoji: false })
    }
    expect(objects.filter(object => object.type === 'text').map(object => object.text)).toEqual([reason])
    expect(message.text).not.toMatch(/[<>]/)
  })
})

function buttonOf(message: { blocks: readonly Readonly<Record<string, unknown>>[] }): string {
  const actions = message.blocks.find(block => block['type'] === 'actions')
  return (actions!['elements'] as { value: string }[])[0]!.value
}
