import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand } from '../support/commands.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** Every command of the README's list answers against the built system, and refuses what is not the caller's. */
let world: TestWorld
beforeAll(async () => {
  world = await startWorld({ tuning: { gateway_workers: 1, policy: () => ({ shadow_ref: 'next' }) } })
})
afterAll(() => world?.stop())

async function ok(who: keyof TestWorld['person'], ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await world.person[who].cli(...args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}

async function refused(who: keyof TestWorld['person'], ...args: string[]): Promise<string> {
  const { code, stderr } = await world.person[who].cli(...args)
  expect(code).toBe(1)
  expect(stderr).toMatch(/^sallyport: .+\n(?: {2}\w+: .+\n)* {2}next: .+/)
  return stderr
}

describe('the command line', () => {
  test('whoami, resources, status, policy status', async () => {
    expect(await ok('erin', 'whoami')).toContain('groups: engineers')
    expect(await ok('erin', 'resources')).toMatch(/shop-db +postgres +.*reader \(≤ 8 h\)/)
    const status = await ok('sam', 'status')
    for (const said of ['development', 'control', 'gateway', 'replay', 'note: ']) expect(status).toContain(said)
    expect(await refused('erin', 'status')).toContain('your groups do not have this call')
    expect(await ok('ava', 'policy', 'status')).toContain('generation 1')
  })

  test('request, requests, deny, cancel, approve, grants, revoke', async () => {
    const first = /req_\w+/.exec(await ok('erin', 'request', 'shop-db', '-r', 'reader', '-m', 'one', '--no-wait'))![0]
    expect(await ok('dana', 'requests', '--state', 'pending')).toContain(first)
    expect(await ok('dana', 'deny', first)).toContain('The request is denied.')
    const second = /req_\w+/.exec(await ok('erin', 'request', 'shop-db', '-r', 'reader', '-m', 'two', '--no-wait'))![0]
    await refused('eli', 'cancel', second)
    expect(await ok('erin', 'cancel', second)).toContain('Cancelled.')
    await refused('dana', 'approve', second)
    const third = /req_\w+/.exec(
      await ok('erin', 'request', 'shop-db', '-r', 'reader', '-m', 'three', '-t', 'OPS-3', '-f', '30m', '--no-wait'),
    )![0]
    await refused('eli', 'approve', third)
    expect(await ok('dana', 'approve', third)).toContain('The request is approved.')
    const grant = /grt_\w+|gra_\w+|gnt_\w+/.exec(await ok('erin', 'grants'))![0]
    await refused('eli', 'revoke', grant, '-m', 'not mine')
    expect(await ok('erin', 'revoke', grant, '-m', 'done early')).toContain('Revoked.')
  })

  test('retention, proposals, confirm, refuse, erase, holds: what one person may not do alone', async () => {
    expect(await ok('ava', 'retention', 'preview')).toContain('Nothing was deleted.')
    expect(await ok('ava', 'retention', 'floor')).toMatch(/recording +1 days/)
    await refused('erin', 'retention', 'preview')
    expect(await ok('sam', 'retention', 'floor', 'recording', '--keep', '2d', '-m', 'audits')).toContain('from now on')
    const lower = ['retention', 'floor', 'recording', '--keep', '1d', '-m', 'too much']
    const proposal = /prp_\w+/.exec(await ok('sam', ...lower))![0]
    expect(await ok('ava', 'proposals')).toContain(proposal)
    expect(await refused('sam', 'confirm', proposal)).toContain('this takes two people')
    await refused('erin', 'confirm', proposal)
    expect(await ok('ava', 'confirm', proposal)).toContain('the floor is in force')
    const other = /prp_\w+/.exec(await ok('sam', ...lower.with(4, '0s')))![0]
    expect(await ok('ava', 'refuse', other, '-m', 'no')).toContain('nothing is done')
    expect(await ok('ava', 'holds')).toContain('No legal hold stands.')
    expect(await ok('sam', 'erase', '--subject', 'eli@example.test', '--dry-run')).toContain('Nothing was erased')
    expect(await refused('sam', 'erase', '--subject', 'eli@example.test', '-m', 'asked')).toContain('subject disable')
  })

  test('reviews, review: what was done on nobody else’s word', async () => {
    const why = 'checkout is down, restarting the queue'
    expect(await refused('eli', 'request', 'shop-prod', '-r', 'break-glass', '-m', 'short', '-f', '5m')).toContain(
      'twenty',
    )
    await ok('eli', 'request', 'shop-prod', '-r', 'break-glass', '-m', why, '-f', '5m')
    const review = /rvw_\w+/.exec(await ok('dana', 'reviews'))![0]
    expect(await ok('dana', 'review', review)).toContain(why)
    const own = await world.person.eli.cli('review', review, '--flag', '-m', 'mine')
    expect(own.stderr).toContain('nobody reviews what they did')
    const early = await world.person.dana.cli('review', review, '--accept', '-m', 'fine')
    expect(early.stderr).toContain('the grant still lasts')
    expect(await ok('dana', 'review', review, '--flag', '-m', 'who asked for this?')).toContain(
      'The review is flagged.',
    )
    expect(await ok('dana', 'reviews')).toContain('Nothing waits for a review.')
    expect(await ok('eli', 'reviews', '--all')).toContain('flagged')
  })

  test('connect --print gives what any other client needs, and connect passes arguments on', async () => {
    await world.grant(world.person.erin)
    const printed = await ok('erin', 'connect', 'shop-db', '--print')
    const url = /^url +(\S+)$/m.exec(printed)![1]!
    const { stdout } = await runCommand(['psql', '-X', '-A', '-t', url, '-c', "select 'by url'"], {
      env: { PATH: process.env['PATH'], HOME: world.person.erin.home, PGCONNECT_TIMEOUT: '10' },
    })
    expect(stdout).toBe('by url\n')
    expect(await ok('erin', 'connect', 'shop-db', '--', '-X', '-A', '-t', '-c', "select 'passed on'")).toBe(
      'passed on\n',
    )
    expect(await refused('eli', 'connect', 'shop-db', '--print')).toContain('next: ')
  })

  test('without psql a prompt of its own takes its place', async () => {
    const { erin } = world.person
    await erin.login()
    const { code, stdout } = await runCommand([process.execPath, world.program, 'connect', 'shop-db'], {
      env: { ...erin.env, PATH: '/nowhere' },
      input: 'select id, national_id from customers where id = 1;\ndelete from orders;\n\\q\n',
    })
    expect(stdout).toContain('[redacted]')
    expect(stdout).toContain('a reader may not write')
    expect(code).toBe(1)
    const once = await runCommand(
      [process.execPath, world.program, 'connect', 'shop-db', '--', '-c', "select 'passed on' as said"],
      { env: { ...erin.env, PATH: '/nowhere' } },
    )
    expect(once).toMatchObject({ code: 0, stdout: 'said\n---------\npassed on\n(1 row)\n' })
  })

  test('sessions, tail, end, replay', async () => {
    const { erin, ava } = world.person
    const psql = erin.openPsql(await erin.ticket())
    await psql.ask("select 'seen', 'live';")
    const session = /ses_\w+/.exec(await ok('ava', 'sessions', '--state', 'live'))![0]
    await ava.login()
    const tail = ava.start('tail', session)
    await tail.says(/seen \| live/)
    await psql.ask("select 'seen', 'later';")
    await tail.says(/seen \| later/)
    await refused('eli', 'replay', session, '--text')
    await refused('eli', 'end', session, '-m', 'x')
    expect(await ok('sam', 'end', session, '-m', 'maintenance')).toContain('Ended.')
    await psql.command.says(/^/)
    tail.kill('SIGINT')
    expect(await ok('ava', 'replay', session, '--json')).toContain('"kind":"statement"')
    expect(await ok('ava', 'replay', session, '--speed', '1000')).toContain('seen | live')
    psql.command.kill()
  })

  test('verify-decision, policy impact and policy shadow', async () => {
    const { items } = (await world.person.ava.get('/api/decisions?point=access&limit=1')).body as {
      items: { id: string }[]
    }
    const proof = join(world.folder, 'decision.json')
    const proved = await ok('ava', 'verify-decision', items[0]!.id, '--output', proof)
    expect(proved).toContain('a second judge agrees')
    expect(proved).toContain('Nothing contradicts this decision.')
    writeFileSync(proof, readFileSync(proof, 'utf8').replace('"effect": "', '"effect": "not '))
    const changed = await world.person.ava.cli('verify-decision', proof)
    expect([changed.code, changed.stdout]).toEqual([1, expect.stringContaining('does NOT hold')])

    const repo = world.git('rev-parse', '--show-toplevel')
    const impact = await ok('ava', 'policy', 'impact', 'HEAD..HEAD', '--repo', repo, '--fail-on', 'any:0')
    expect(impact).toContain('The two compile to the same bundle')
    expect(await ok('ava', 'policy', 'shadow')).toContain('No shadow policy is weighed')
  })

  test('a shadow on live traffic: what it would deny is grouped in CLI, API and Slack, and nothing is denied', async () => {
    const { erin } = world.person
    const next = join(world.folder, 'next')
    world.git('worktree', 'add', '--quiet', '-b', 'next', next)
    const file = join(next, 'action/action.rego')
    const rule = `
# METADATA
# title: Readers do not look at orders
# custom: { rule: action.shadow-orders }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "orders are not for readers"} if {
	input.role == "reader"
	some relation in input.action.reads
	relation.name == "orders"
}
`
    writeFileSync(file, readFileSync(file, 'utf8') + rule)
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', next, '-c', 'user.name=Sam', '-c', 'user.email=s@example.test', ...args])
    git('commit', '-qam', 'Readers do not look at orders')
    await expect
      .poll(() => ok('ava', 'policy', 'shadow'), { timeout: 60_000, interval: 1000 })
      .toContain('0 decisions of')
    await world.grant(erin)
    const psql = erin.openPsql(await erin.ticket())
    await expect
      .poll(
        async () => {
          expect((await psql.ask('select count(*) from orders;')).out).toMatch(/\d+/)
          expect((await psql.ask('select count(*) from customers;')).out).toMatch(/\d+/)
          return ok('ava', 'policy', 'shadow')
        },
        { timeout: 30_000, interval: 500 },
      )
      .toMatch(/action\.shadow-orders/)
    const shadow = (await world.person.ava.get('/api/policy/shadow')).body as {
      counts: { judged: number; diverged: number }
      groups: { change: string; point: string; resource: string; count: number; subject: { name: string } }[]
    }
    expect(shadow.groups).toMatchObject([
      { change: 'denied', point: 'action', resource: 'shop-db', subject: { name: 'Erin Engineer' } },
    ])
    const { items } = (await world.person.ava.get('/api/decisions?point=action&rule=action.shadow-orders')).body as {
      items: object[]
    }
    expect(items).toEqual([])
    await expect
      .poll(() => JSON.stringify(world.dev.slack.messages({ channel: 'policy' })), { timeout: 30_000, interval: 500 })
      .toContain('denied: Erin Engineer on shop-db at action, by action.shadow-orders')
    await psql.close()
  })

  test('impact asks again what was asked under two commits, from the server, and names whom the next one hits under either', async () => {
    const { erin, ava } = world.person
    const asked = async () =>
      (await ava.get('/api/decisions?point=action&effect=allow&text=orders')).body as {
        items: { id: string; generation: number }[]
      }
    const before = world.git('rev-parse', 'HEAD')
    await world.activate({ 'lib/second.rego': () => 'package sallyport.lib.second\n' }, 'A second revision')
    const psql = erin.openPsql(await erin.ticket())
    await expect
      .poll(
        async () => {
          expect((await psql.ask('select count(*) from orders;')).out).toMatch(/\d+/)
          return new Set((await asked()).items.map(each => each.generation)).size
        },
        { timeout: 30_000, interval: 500 },
      )
      .toBe(2)
    await psql.close()
    const repo = world.git('rev-parse', '--show-toplevel')
    const json = await ok('ava', 'policy', 'impact', `${before}..next`, '--repo', repo, '--format', 'json')
    const { groups } = JSON.parse(json) as {
      groups: { change: string; point: string; resource: string; count: number; examples: string[] }[]
    }
    const denied = groups.filter(each => each.point === 'action')
    const { items } = await asked()
    expect(denied).toMatchObject([{ change: 'denied', resource: 'shop-db', count: items.length }])
    expect(new Set(items.filter(each => each.generation > 1).map(each => each.generation))).toEqual(new Set([2]))
  })

  test('a machine works with its token, and with nothing but its scopes, until it is revoked', async () => {
    const issued = await ok(
      'sam',
      'token',
      'issue',
      'nightly',
      '--machine',
      'reporter',
      '--group',
      'auditors',
      '--scope',
      'admin:audit.list',
      '--for',
      '1h',
    )
    const token = /^ {2}(\S+)$/m.exec(issued)![1]!
    const id = /tok_\w+/.exec(issued)![0]
    expect(await ok('sam', 'token', 'list')).not.toContain(id)
    expect(await ok('sam', 'token', 'list', '--all')).toContain(id)
    await refused('ava', 'token', 'list', '--all')
    const as = (...args: string[]) =>
      runCommand([process.execPath, world.program, ...args], {
        env: { PATH: process.env['PATH'], HOME: world.folder, SALLYPORT_ORIGIN: world.origin, SALLYPORT_TOKEN: token },
      })
    expect(await as('audit', 'events', '--limit', '3')).toMatchObject({ code: 0 })
    expect((await as('sessions')).code).toBe(1)
    await ok('sam', 'token', 'revoke', id)
    expect((await as('audit', 'events')).code).toBe(1)
  })

  test('logout ends the sign-in on both sides', async () => {
    expect(await ok('eli', 'logout')).toContain('Signed out.')
    expect((await world.person.eli.cli('whoami')).stderr).toContain('sallyport login')
  })
})
