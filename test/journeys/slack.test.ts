import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Block, StoredMessage } from '../../src/dev/slack/workspace.ts'
import type { Person } from '../support/person.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** Asking and answering in Slack, in its wire format, from the form to the connection. */
let world: TestWorld
beforeAll(async () => {
  world = await startWorld({ tuning: { gateway_workers: 1 } })
  for (const who of [world.person.erin, world.person.dana]) await world.linkSlack(who)
})
afterAll(() => world?.stop())

const textOf = (message: StoredMessage) => `${message.text} ${JSON.stringify(message.blocks)}`
const hasButtons = (message: StoredMessage) => JSON.stringify(message.blocks).includes('"button"')

/** The message in the approvers' channel that has this text. */
function asked(about: string): Promise<StoredMessage> {
  return world.until(() => {
    const found = world.dev.slack.messages({ channel: 'db-approvals' }).find(m => textOf(m).includes(about))
    if (found === undefined) throw new Error(`nobody was asked about '${about}'`)
    return found
  })
}

/** What a person was told in private. */
function told(who: Person, what: RegExp): Promise<StoredMessage> {
  return world.until(() => {
    const found = world.dev.slack.messages({ channel: who.slackId, user: who.slackId }).find(m => what.test(textOf(m)))
    if (found === undefined) throw new Error(`${who.sub} was not told ${what}`)
    return found
  })
}

/** `/access`, and the form filled in. */
async function fillIn(who: Person, fields: { role: string; reason: string; ticket?: string }): Promise<void> {
  await world.dev.slack.command(who.slackId, '/access')
  const shows = (what: string) =>
    world.until(() => {
      const open = world.dev.slack.view(who.slackId)
      if (open === undefined || !JSON.stringify(open).includes(what)) throw new Error(`no form shows ${what}`)
      return open
    })
  const open = await shows('"block_id":"resource"')
  const sent = await world.dev.slack.submitView(who.slackId, {
    resource: optionNamed(open.view, 'resource', 'shop-db'),
    role: optionNamed(open.view, 'role', fields.role),
    duration: '3600',
    reason: fields.reason,
    ticket: fields.ticket ?? '',
  })
  expect(sent.status).toBe(200)
  await shows(`You asked for ${fields.role} on shop-db.`)
}

function optionNamed(view: Block, block: string, name: string): string {
  const blocks = view['blocks'] as {
    block_id?: string
    element?: { options?: { value: string; text: { text: string } }[] }
  }[]
  const options = blocks.find(b => b.block_id === block)?.element?.options ?? []
  const option = options.find(o => o.text.text === name)
  if (option === undefined) throw new Error(`${block} offers ${options.map(o => o.text.text).join(', ')}`)
  return option.value
}

async function stateOf(reason: string): Promise<string> {
  const [row] = await world.owner<{ state: string }[]>`select state from requests where reason = ${reason}`
  return row?.state ?? 'none'
}

describe('from /access to psql', () => {
  test('a form asks, one click approves, the message loses its buttons, and the DM says how to connect', async () => {
    const { erin, dana } = world.person
    await fillIn(erin, { role: 'reader', reason: 'order 1001 looks wrong', ticket: 'OPS-17' })
    const message = await asked('order 1001 looks wrong')
    for (const said of [
      'Erin Engineer',
      'reader on shop-db',
      '1 h',
      'OPS-17',
      'access.dba-approves',
      'access/access.rego:',
    ])
      expect(textOf(message)).toContain(said)
    expect(hasButtons(message)).toBe(true)
    expect((await world.dev.slack.click(dana.slackId, message, 'approve')).status).toBe(200)
    await world.until(async () => expect(hasButtons(await asked('order 1001 looks wrong'))).toBe(false))
    expect(textOf(await asked('order 1001 looks wrong'))).toContain('Approved')
    const direct = await told(erin, /You have reader on shop-db until/)
    const command = /sallyport (connect shop-db --role reader)/.exec(textOf(direct))?.[1]
    const connected = await erin.cli(...command!.split(' '), '--', '-X', '-A', '-t', '-c', "select 'it works'")
    expect(connected).toMatchObject({ code: 0, stdout: 'it works\n' })
    const [ticket] = await world.owner<{ id: string }[]>`select id from tickets order by created_at desc limit 1`
    expect(world.dev.slack.messages().map(textOf).join()).not.toContain(ticket!.id)
  })

  test('a click that denies ends it, and the requester is told', async () => {
    const { erin, dana } = world.person
    await fillIn(erin, { role: 'writer', reason: 'just curious' })
    await world.dev.slack.click(dana.slackId, await asked('just curious'), 'deny')
    await told(erin, /writer on shop-db was denied/)
    expect(await stateOf('just curious')).toBe('denied')
    await world.until(async () => expect(hasButtons(await asked('just curious'))).toBe(false))
    expect((await erin.post('/api/tickets', { resource: 'shop-db', role: 'writer' })).status).toBe(403)
  })

  test('AP4: the click of an engineer who is linked, but no approver, counts for nothing', async () => {
    const { erin, eli } = world.person
    await world.linkSlack(eli)
    await fillIn(erin, { role: 'writer', reason: 'ask Eli' })
    await world.dev.slack.click(eli.slackId, await asked('ask Eli'), 'approve')
    await world.until(() => {
      const seen = world.dev.slack.messages({ user: eli.slackId }).filter(m => m.ephemeral === eli.slackId)
      expect(seen.map(textOf).join()).toContain('not among the approvers')
    })
    expect(await stateOf('ask Eli')).toBe('pending')
  })

  test('AP1, AP3: what is not signed by Slack now, or is signed wrongly, is not read', async () => {
    const { slack } = world.dev
    const now = Math.floor(Date.now() / 1000)
    const ahead = now + 310 // well beyond: the clock goes on while the others are sent
    const body = 'command=%2Faccess&text=&team_id=T0DEVWORLD&user_id=U0ERIN'
    for (const change of [
      { signature: 'v0=00' },
      { signature: '' },
      { signature: slack.sign(String(now), body).replace('v0=', 'v1=') },
      { timestamp: String(now - 301), signature: slack.sign(String(now - 301), body) },
      { timestamp: String(ahead), signature: slack.sign(String(ahead), body) },
    ])
      expect((await slack.send(body, change)).status).toBe(401)
  })

  test('AP13: what a person writes is shown as it is', async () => {
    const reason = '<!channel> *Approved by* Dana <http://evil.example|look>'
    await fillIn(world.person.erin, { role: 'writer', reason })
    const message = await asked('*Approved by*')
    const holders: unknown[] = []
    JSON.stringify(message.blocks, (_, value: unknown) => {
      const { text, type } = (value ?? {}) as { text?: unknown; type?: unknown }
      if (typeof text === 'string' && text.includes('*Approved by*')) holders.push(type)
      return value
    })
    expect(holders.length).toBeGreaterThan(0)
    expect(holders.filter(type => type !== 'plain_text' && type !== 'text')).toEqual([]) // `text`: an element of rich text
    expect(message.text).not.toContain('<!channel>')
  })
})

describe('AP12: Slack is away', () => {
  test.each(['down', 'ratelimited'] as const)(
    '%s: nothing is decided, the web path works, and Slack catches up',
    async outage => {
      const { erin, dana } = world.person
      const reason = `while Slack is ${outage}`
      world.dev.slack.setOutage(outage, 1)
      const request = await erin.ask({ role: 'writer', reason, duration_s: 600 })
      await new Promise(resolve => setTimeout(resolve, 2_500))
      expect(await stateOf(reason)).toBe('pending')
      const listed = await dana.get('/api/requests?state=pending')
      expect(JSON.stringify(listed.body)).toContain(reason)
      expect((await dana.vote(request)).body).toMatchObject({ state: 'approved' })
      expect((await erin.psql(await erin.ticket({ role: 'writer' }), 'select 1;')).stdout).toBe('1\n')
      world.dev.slack.setOutage('none')
      await world.until(async () => {
        const message = await asked(reason)
        expect(hasButtons(message)).toBe(false)
        expect(textOf(message)).toContain('Approved')
      }, 40_000)
      await told(erin, /You have writer on shop-db until/)
    },
  )
})
