import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { StoredMessage } from '../../src/dev/slack/workspace.ts'
import type { RequestBody } from '../support/person.ts'
import { SshClients } from '../support/ssh.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** Actions that wait for approvers, from the client that waits to the click that lets it go on. */
let world: TestWorld
let erin: SshClients

/** As if these two were production; for what empties a table nobody waits long. */
const asIn = (text: string) =>
  `${text.replace('"halt", ', '"halt", "printf", ').replace('"expires_s": 900', '"expires_s": wait_s')}
asked_in_production if input.resource.name in {"shop-db", "web-1"}

wait_s := 2 if input.action.kind == "truncate"

wait_s := 900 if input.action.kind != "truncate"
`

beforeAll(async () => {
  // Committed before anything starts: an activation less.
  const policy = (policies: string) => {
    const file = join(policies, 'action/production.rego')
    writeFileSync(file, asIn(readFileSync(file, 'utf8')))
    execFileSync('git', ['-c', 'user.name=Sam', '-c', 'user.email=sam@example.test', 'commit', '-qam', 'As if'], {
      cwd: policies,
    })
    return {}
  }
  world = await startWorld({ tuning: { gateway_workers: 1, policy }, customers: 20 })
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
  await world.until(async () => expect(textOf(await asked("set status = 'checked'"))).toContain('it went on at'))
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

test('a command that waits is taken back by Ctrl-C in its terminal, and by a client that is gone', async () => {
  const stateOf = async (id: string) => {
    const { body } = await world.person.dana.get(`/api/requests/${id}`)
    return [body['state'], (body['hold'] as { released_at_ms: number | null }).released_at_ms]
  }
  const typed = erin.start('ssh', '-tt', 'web-1.operator', 'printf ran-anyway')
  const first = await pending()
  typed.write('\x03')
  const { stdout, stderr } = await typed.ended
  expect(stdout + stderr).toContain('it was cancelled by who sent it')
  expect(stdout).not.toContain('ran-anyway')
  await world.until(async () => expect(await stateOf(first.id)).toEqual(['cancelled', null]))
  const gone = erin.start('ssh', 'web-1.operator', 'printf ran-anyway')
  const second = await pending()
  gone.child.kill('SIGKILL')
  await world.until(async () => expect(await stateOf(second.id)).toEqual(['cancelled', null]))
})

test('what nobody answers expires, and the client reads so', async () => {
  const { stderr } = await world.person.erin.psql(await writer(), 'truncate orders;\n')
  expect(stderr).toContain('nobody answered in time')
  const [row] = await world.owner<{ state: string }[]>`
    select state from requests where kind = 'hold' order by id desc limit 1`
  expect(row?.state).toBe('expired')
})

test('what waits outlives control and its database, and not its gateway: nothing runs that nobody waits for', async () => {
  const { dana, erin } = world.person
  const stateOf = async (text: string) => {
    const [row] = await world.owner<{ state: string; outcome: string | null }[]>`
      select r.state, r.outcome from requests r join holds h on h.request_id = r.id where h.text like ${`${text}%`}`
    return row
  }
  const lost = "update orders set status = 'lost'"
  const psql = erin.openPsql(await writer())
  psql.send(`${lost};`)
  await asked(lost)
  const [victim] = await world.workers()
  process.kill(victim!.pid, 'SIGKILL')
  await psql.command.says(/server closed the connection unexpectedly|connection to server was lost/)
  await world.until(
    async () => expect((await world.workers()).map(({ pid }) => pid)).not.toEqual([victim!.pid]),
    30_000,
  )
  await world.until(async () => {
    expect(await world.workers()).toHaveLength(1)
    expect((await erin.psql(await writer(), 'select 1;\n')).code).toBe(0)
  }, 30_000)

  // What it would be in twenty seconds.
  await world.owner`update holds set seen_at = now() - interval '1 minute' where text like ${`${lost}%`}`
  const gone = { state: 'cancelled', outcome: expect.stringContaining('nobody waits for it any more') }
  await world.until(async () => expect(await stateOf(lost)).toMatchObject(gone))
  await world.until(async () => expect(hasButtons(await asked(lost))).toBe(false))
  expect(await world.shop`select from orders where status = 'lost'`).toHaveLength(0)

  const kept = "update orders set status = 'kept'"
  const running = erin.psql(await writer(), `${kept};\n`)
  await asked(kept)
  process.kill(world.dev.children.control.pid, 'SIGKILL')
  await world.dev.children.control.exited
  await world.stopDatabase()
  await world.startDatabase()
  await world.startControl()
  expect(await world.shop`select from orders where status = 'kept'`).toHaveLength(0)
  const request = await world.until(async () => {
    const { body } = await dana.get('/api/requests?state=pending')
    const found = (body['items'] as (RequestBody & { hold: { text: string } | null })[]).find(r =>
      r.hold?.text.startsWith(kept),
    )
    if (found === undefined) throw new Error(`it does not wait: ${JSON.stringify(await stateOf(kept))}`)
    return found
  }, 30_000)
  await world.until(async () => expect((await dana.vote(request)).status).toBe(200))
  expect(await running).toMatchObject({ code: 0, stderr: expect.stringContaining('it goes on') })
  expect(await world.shop`select from orders where status = 'kept'`).not.toHaveLength(0)
})
