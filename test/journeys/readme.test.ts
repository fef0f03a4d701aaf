import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Command, runCommand } from '../support/commands.ts'
import { closeToReaders, closeToReadersUntested } from '../support/policy-edits.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** The five minutes of the README, in its order and with its words: each test goes on where the one before it ended. */
let world: TestWorld
beforeAll(async () => {
  world = await startWorld({ tuning: { gateway_workers: 1 }, policyTests: true })
})
afterAll(() => world?.stop())

const readme = readFileSync(resolve(import.meta.dirname, '../../README.md'), 'utf8')
const fiveMinutes = readme.slice(readme.indexOf('## Five minutes'), readme.indexOf('## Commands'))
const root = resolve(import.meta.dirname, '../..')
const npx = ['npx', 'sallyport']
let connecting: Command
let session = ''

/** A command as the README prints it. */
function shown(start: string): string[] {
  const line = fiveMinutes.split('\n').find(text => text.trim().startsWith(start))
  if (line === undefined) throw new Error(`the README does not show '${start}'`)
  const bare = line
    .trim()
    .replace(/\s+#.*$/, '')
    .replace(/^npx sallyport /, '')
  return [...bare.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!)
}

describe('the five minutes of the README', () => {
  test('Erin signs in with her command line', async () => {
    expect(fiveMinutes).toContain('npx sallyport login')
    const { erin } = world.person
    expect(await erin.login()).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Signed in as Erin Engineer.'),
    })
    const who = await runCommand([...npx, 'whoami'], { env: erin.env, cwd: root })
    expect(who.stdout).toContain('groups: engineers')
  })

  test('connect with a reason asks, names the request, and waits', async () => {
    const { erin } = world.person
    const args = shown('npx sallyport connect shop-db --role reader --reason')
    expect(args).toContain('look into order 1001')
    const env = { ...erin.env, PSQLRC: '/dev/null', PAGER: 'cat' }
    connecting = new Command([...npx, ...args], { env, cwd: root })
    await connecting.says(/Request req_\w+: reader on shop-db for 1 h waits for an approver/)
    expect(connecting.child.exitCode).toBeNull()
  })

  test('the request stands in the approvers’ channel, and who is not linked cannot press its buttons', async () => {
    const message = await world.until(() => {
      const [found] = world.dev.slack.messages({ channel: 'db-approvals' })
      if (found === undefined) throw new Error('no message yet')
      return found
    })
    const text = JSON.stringify(message.blocks)
    for (const said of [
      'Erin Engineer',
      'reader on shop-db',
      'look into order 1001',
      'access.dba-approves',
      'approve',
      'deny',
    ])
      expect(text).toContain(said)
    const { dana } = world.person
    await world.dev.slack.click(dana.slackId, message, 'approve')
    await world.until(() => {
      const told = world.dev.slack.messages({ channel: 'db-approvals', user: dana.slackId }).at(-1)
      expect(told?.text).toContain('not linked')
    })
    expect(connecting.stdout).not.toContain('Approved')
  })

  test('Dana links her account with the code of the web page and approves with one click', async () => {
    const { dana } = world.person
    await world.linkSlack(dana)
    expect((await dana.get('/api/me')).body['slack']).toMatchObject({ user_id: dana.slackId })
    const [message] = world.dev.slack.messages({ channel: 'db-approvals' })
    await world.dev.slack.click(dana.slackId, message!, 'approve')
    await connecting.says(/Approved: reader on shop-db until/)
    await world.until(() => {
      const [after] = world.dev.slack.messages({ channel: 'db-approvals' })
      expect(JSON.stringify(after!.blocks)).toContain('Approved')
      expect(JSON.stringify(after!.blocks)).not.toContain('"button"')
    })
  })

  test('her own psql opens, and sensitive columns come back masked', async () => {
    expect(fiveMinutes).toContain('select id, name, email, national_id, card_number from customers limit 3;')
    connecting.write(
      "select id, name, email, national_id, card_number from customers limit 3;\n\\echo 'first is done'\n",
    )
    await connecting.says(/first is done/)
    const real = await world.shop`select name, email, national_id, card_number from customers where id <= 3 order by id`
    expect(connecting.stdout).toContain('(3 rows)')
    for (const { name, email, national_id, card_number } of real) {
      expect(connecting.stdout).toContain(name)
      for (const secret of [email, national_id, card_number]) expect(connecting.stdout).not.toContain(secret)
      expect(connecting.stdout).toContain(String(card_number).slice(-4))
    }
  })

  test('what a reader may not do is refused with rule, file, line and commit, and the connection goes on', async () => {
    expect(fiveMinutes).toContain('delete from orders where id = 1;')
    connecting.write("delete from orders where id = 1;\n\\echo 'second is done'\nselect 'still' || ' here';\n")
    await connecting.says(/still here/)
    const [, file, line, commit] =
      /action\.reader-write.*?(action\/action\.rego):(\d+)@([0-9a-f]+)/s.exec(connecting.stderr) ?? []
    expect(connecting.stderr).toContain('a reader may not write')
    expect(file).toBe('action/action.rego')
    expect(readFileSync(join(world.dev.policies, file!), 'utf8').split('\n')[Number(line) - 1]).toContain(
      'deny contains',
    )
    expect(world.commit({ 'NOTES.md': () => 'Notes.\n' }, 'Nothing that decides')).not.toContain(commit)
    expect(connecting.stderr).toMatch(/dec_\w+/)
    expect(connecting.stderr).toContain('ask for the role writer')
    expect(await world.shop`select count(*)::int as n from orders where id = 1`).toEqual([{ n: 1 }])
    connecting.child.stdin.end('\\q\n')
    expect((await connecting.ended).code).toBe(0)
  })

  test('Ava finds the session and reads what Erin saw', async () => {
    const { ava } = world.person
    expect(shown('npx sallyport login --profile ava')).toEqual(['login', '--profile', 'ava'])
    const listed = await ava.cli('sessions')
    session = /ses_\w+/.exec(listed.stdout)?.[0] ?? ''
    expect(listed.stdout).toContain('Erin Engineer')
    const replay = await world.until(async () => {
      const played = await ava.cli('replay', session, '--text')
      expect(played).toMatchObject({ code: 0 })
      return played
    })
    expect(replay.stdout).toContain('select id, name, email, national_id, card_number from customers limit ?')
    expect(replay.stdout).toContain('delete from orders')
    const [real] = await world.shop`select national_id, card_number from customers where id = 1`
    expect(replay.stdout).not.toContain(real!['national_id'])
    expect(replay.stdout).not.toContain(real!['card_number'])
  })

  test('she proves an event of the session, and the proof is checked without a server', async () => {
    const { ava } = world.person
    const event = await world.until(async () => {
      const { stdout } = await ava.cli('audit', 'events', '--session', session)
      const lines = stdout.split('\n').filter(line => line.startsWith('evt_'))
      expect(lines.length).toBeGreaterThan(1)
      expect(stdout).not.toContain('waiting')
      return lines.find(line => line.includes('session.opened'))!.split(/\s+/)[0]!
    })
    expect(await ava.cli('audit', 'prove', event)).toMatchObject({ code: 0 })
    const file = join(ava.home, `${event.replace(/\W/g, '')}.proof.json`)
    expect(existsSync(file)).toBe(true)
    const verified = await ava.cli('verify', file)
    expect(verified).toMatchObject({ code: 0, stderr: '' })
    expect(verified.stdout).toContain('proved')
    expect(await world.hostCli('audit', 'verify')).toMatchObject({ code: 0 })
  })

  test('a merged policy is active within seconds, and sessions that it no longer allows end and say why', async () => {
    const { erin } = world.person
    const psql = erin.openPsql(await erin.ticket())
    expect(await psql.ask('select 1;')).toEqual({ out: '1', err: '' })
    const untested = world.commit(closeToReadersUntested)
    await world.until(async () => {
      const { stdout, stderr } = await world.person.sam.cli('policy', 'status')
      expect(stderr).toBe('')
      expect(stdout).toContain(`commit ${untested} did not pass`)
      expect(stdout).toMatch(/access\/access_test\.rego:\d+: the test test_the_shop_is_open_to_engineers/)
    })
    expect(await psql.ask('select 1;')).toEqual({ out: '1', err: '' })
    await world.activate({ 'access/access_test.rego': closeToReaders['access/access_test.rego']! })
    await world.until(async () => expect(await world.leaseRoles()).toEqual([]))
    const { err } = await psql.ask('select 2;')
    expect(err).toContain('the session has ended')
    expect(err).toMatch(/none of your groups has this role on this resource|access\.default/)
    const again = await erin.post('/api/requests', {
      resource: 'shop-db',
      role: 'reader',
      duration_s: 3600,
      reason: 'x',
    })
    expect(again).toMatchObject({ status: 403, body: { error: { rule: 'access.default' } } })
    psql.command.kill()
  })
})
