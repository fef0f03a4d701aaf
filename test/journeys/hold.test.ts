import { afterAll, beforeAll, expect, test } from 'vitest'
import type { StoredMessage } from '../../src/dev/slack/workspace.ts'
import type { RequestBody } from '../support/person.ts'
import { SshClients } from '../support/ssh.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** Actions that wait for approvers, from the client that waits to the click that lets it go on. */
let world: TestWorld
let erin: SshClients

/** As if these two were production. */
const asIn = (text: string) =>
  `${text.replace('"halt", ', '"halt", "printf", ')}
asked_in_production if input.resource.name in {"shop-db", "web-1"}
`

beforeAll(async () => {
  world = await startWorld({ tuning: { gateway_workers: 1 }, customers: 20 })
  await world.activate({ 'action/production.rego': asIn })
  await world.linkSlack(world.person.dana)
  await world.grant(world.person.erin, { role: 'writer' })
  await world.grant(world.person.erin, { resource: 'web-1', role: 'operator' })
  erin = await SshClients.of(world.person.erin)
})
afterAll(() => world?.stop())

const textOf = (message: StoredMessage) => `${message.text} ${JSON.stringify(message.blocks)}`
const hasButtons = (message: StoredMessage) => JSON.stringify(message.blocks).includes('"button"')
const asked = (about: string): Promise<StoredMessage> =>
  world.until(() => {
    const found = world.dev.slack.messages({ channel: 'db-approvals' }).find(m => textOf(m).includes(about))
    if (found === undefined) throw new Error(`nobody was asked about '${about}'`)
    return found
  })
const pending = (): Promise<RequestBody & { hold: { text: string } }> =>
  world.until(async () => {
    const { body } = await world.person.dana.get('/api/requests?state=pending')
    const found = (body['items'] as (RequestBody & { hold: { text: string } | null })[]).find(one => one.hold !== null)
    if (found === undefined) throw new Error('nothing waits')
    return found as RequestBody & { hold: { text: string } }
  })
const writer = async () => world.person.erin.ticket({ role: 'writer' })
const notes = async () => Number((await world.shop`select count(*)::int as n from orders`)[0]!['n'])

test('a statement waits in psql, is approved by one click in Slack by who sees it, and runs', async () => {
  const all = await notes()
  const running = world.person.erin.psql(await writer(), "update orders set status = 'checked';\n", [], {})
  const message = await asked("update orders set status = 'checked'")
  for (const said of ['Erin Engineer', 'writer on shop-db', 'update on public.orders', 'action.production-every-row'])
    expect(textOf(message)).toContain(said)
  expect(textOf(message)).toMatch(/action\/production\.rego:\d+@/)
  expect((await world.dev.slack.click(world.person.dana.slackId, message, 'approve')).status).toBe(200)
  const { code, stderr } = await running
  expect(code).toBe(0)
  expect(stderr).toMatch(/NOTICE: {2}sallyport: waits for an approval by 1 of dbas: http\S+\/requests\/req_/)
  expect(stderr).toContain('approved by Dana')
  const [row] = await world.shop`select count(*)::int as n from orders where status = 'checked'`
  expect(Number(row!['n'])).toBe(all)
  await world.until(async () => expect(hasButtons(await asked("set status = 'checked'"))).toBe(false))
})

test('denied in Slack, psql says by whom, by which rule and where it stands', async () => {
  const before = await notes()
  const running = world.person.erin.psql(await writer(), 'delete from orders;\n')
  await world.dev.slack.click(world.person.dana.slackId, await asked('delete from orders'), 'deny')
  const { stderr } = await running
  expect(stderr).toContain('ERROR:  refused: this needs an approval, and denied by Dana')
  expect(stderr).toMatch(/DETAIL: {2}rule action\.production-every-row \(action\/production\.rego:\d+@[0-9a-f]+\)/)
  expect(await notes()).toBe(before)
})

test('Ctrl-C takes it back: the request is cancelled and its buttons go', async () => {
  const psql = world.person.erin.openPsql(await writer())
  psql.send("update orders set status = 'never';")
  const message = await asked("set status = 'never'")
  expect(hasButtons(message)).toBe(true)
  psql.command.child.kill('SIGINT')
  expect((await psql.command.ended).stderr).toContain('canceling statement due to user request')
  await world.until(async () => expect(hasButtons(await asked("set status = 'never'"))).toBe(false))
  expect(await world.shop`select from orders where status = 'never'`).toHaveLength(0)
})

test('a command waits in ssh, is approved on the web, and its channel goes on; another one is denied from the command line', async () => {
  const running = erin.run('ssh', 'web-1.operator', 'printf held-and-done')
  const request = await pending()
  expect(request.hold.text).toBe('printf held-and-done')
  expect((await world.person.dana.vote(request)).status).toBe(200)
  const done = await running
  expect(done).toMatchObject({ code: 0, stdout: 'held-and-done' })
  expect(done.stderr).toMatch(/sallyport: waits for an approval by 1 of dbas: http\S+\/requests\/req_/)
  const other = erin.run('ssh', 'web-1.operator', 'printf not-this')
  const second = await pending()
  const shown = await world.person.dana.cli('deny', second.id)
  expect(shown.stdout + shown.stderr).toContain('printf not-this')
  expect(await other).toMatchObject({ code: 126, stdout: '', stderr: expect.stringContaining('denied by Dana') })
})

test('what nobody answers expires, and the client reads so', async () => {
  await world.activate({ 'action/production.rego': text => text.replace('"expires_s": 900', '"expires_s": 2') })
  const { stderr } = await world.person.erin.psql(await writer(), 'delete from orders;\n')
  expect(stderr).toContain('nobody answered in time')
  const [row] = await world.owner<{ state: string }[]>`
    select state from requests where kind = 'hold' order by id desc limit 1`
  expect(row?.state).toBe('expired')
})
