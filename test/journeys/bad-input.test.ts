import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { runCommand } from '../support/commands.ts'
import { replaced } from '../support/policy-edits.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** Malformed input gets one clear error that says what, where and what to do; the process and everybody else go on. */
const program = resolve(import.meta.dirname, '../../dist/cli/main.js')
let world: TestWorld
beforeAll(async () => {
  world = await startWorld({ tuning: { gateway_workers: 1 }, policyTests: true })
  await world.grant(world.person.erin)
})
afterAll(() => world?.stop())

async function serve(config: unknown): Promise<{ code: number; stdout: string; stderr: string }> {
  const file = join(world.folder, 'sallyport.yaml')
  writeFileSync(file, typeof config === 'string' ? config : stringify(config))
  const { SALLYPORT_DEVELOPMENT_TREE: _, ...env } = process.env
  return runCommand([process.execPath, program, 'serve', '--config', file], { env })
}

describe('sallyport serve', () => {
  const settings = () => parse(readFileSync(world.dev.configPath, 'utf8')) as Record<string, Record<string, unknown>>

  test('lists every missing and wrong setting at once, and starts nothing', async () => {
    const wrong = settings()
    delete wrong['oidc']
    delete wrong['keys']!['replay']
    wrong['gateway']!['workers'] = 'many'
    wrong['database']!['control'] = 'postgres://in:clear@text/here'
    wrong['surprise'] = {}
    const { code, stderr } = await serve(wrong)
    expect(code).toBe(1)
    for (const place of ['oidc', '/keys', 'replay', '/gateway/workers', '/database/control', 'surprise'])
      expect(stderr).toContain(place)
    expect(stderr).toContain('next: correct them and start again')
    expect(stderr).not.toContain('in:clear')
  })

  test.each([
    ['no YAML', '{ origin: [', /cannot be read/],
    ['empty', '', /wrong setting/],
    ['a list', '- a\n- b\n', /wrong setting/],
  ])('refuses a file that is %s', async (_, text, why) => {
    const { code, stderr } = await serve(text)
    expect(code).toBe(1)
    expect(stderr).toMatch(why)
  })

  test('never runs with development settings', async () => {
    const { code, stderr } = await serve(settings())
    expect(code).toBe(1)
    expect(stderr).toContain('is a development configuration')
  })
})

describe('a commit that is malformed', () => {
  test.each([
    [
      'Rego that does not parse',
      'access/access.rego',
      (text: string) => replaced(text, 'package sallyport.access', 'package sallyport.access\n\nresult := {'),
      /access\/access\.rego:\d+: /,
    ],
    [
      'a field that does not exist',
      'access/access.rego',
      (text: string) => replaced(text, 'input.subject.groups', 'input.subject.gruops'),
      /access\/access\.rego:\d+: .*gruops/,
    ],
    [
      'a resource without an address',
      'resources/data.yaml',
      (text: string) => replaced(text, /^ {2}address: .*\n/m, ''),
      /resources\/data\.yaml:?\d*: .*address/,
    ],
    [
      'an unknown protocol',
      'resources/data.yaml',
      (text: string) => replaced(text, 'protocol: postgres', 'protocol: telepathy'),
      /resources\/data\.yaml:\d+: .*telepathy/,
    ],
    [
      'a call to the network',
      'retention/retention.rego',
      (text: string) => `${text}\nfetched := http.send({"method": "get", "url": "http://127.0.0.1"})\n`,
      /http\.send/,
    ],
    [
      'a failing test',
      'retention/retention.rego',
      (text: string) => replaced(text, '90 * day', '91 * day'),
      /retention\/retention_test\.rego:\d+: /,
    ],
  ])('%s: the last good revision stays, and the status says where it is wrong', async (_, file, edit, place) => {
    const active = await world.owner`select max(generation) as generation from revisions`
    const commit = world.commit({ [file]: edit })
    await world.until(async () =>
      expect(await world.owner`select 1 from revision_failures where commit = ${commit}`).toHaveLength(1),
    )
    await world.until(async () => {
      const { stdout } = await world.person.sam.cli('policy', 'status')
      expect(stdout).toContain(`commit ${commit} did not pass`)
      expect(stdout).toMatch(place)
    })
    expect(await world.owner`select max(generation) as generation from revisions`).toEqual(active)
    const psql = await world.person.erin.psql(await world.person.erin.ticket(), 'select 1;')
    expect(psql).toMatchObject({ code: 0, stdout: '1\n' })
    world.git('reset', '--quiet', '--hard', 'HEAD~1')
  })

  test('the same is told before the merge, without a server', async () => {
    const checked = await world.person.erin.cli('policy', 'check', world.dev.policies)
    expect(checked).toMatchObject({ code: 0, stdout: expect.stringContaining('could be activated') })
  })
})

describe('the API', () => {
  const wrong: [string, string, RequestInit][] = [
    ['no JSON', '/api/requests', { method: 'POST', body: '{"resource":' }],
    ['a list', '/api/requests', { method: 'POST', body: '[]' }],
    ['members missing', '/api/requests', { method: 'POST', body: '{}' }],
    [
      'another type',
      '/api/requests',
      { method: 'POST', body: JSON.stringify({ resource: 'shop-db', role: 'reader', duration_s: '1h', reason: 'x' }) },
    ],
    [
      'a member too many',
      '/api/requests',
      {
        method: 'POST',
        body: JSON.stringify({ resource: 'shop-db', role: 'reader', duration_s: 600, reason: 'x', admin: true }),
      },
    ],
    [
      'a number that is none',
      '/api/requests',
      { method: 'POST', body: '{"resource":"shop-db","role":"reader","duration_s":1e999,"reason":"x"}' },
    ],
    ['half a megabyte', '/api/requests', { method: 'POST', body: JSON.stringify({ reason: 'x'.repeat(524_288) }) }],
    ['depth', '/api/requests', { method: 'POST', body: '['.repeat(100_000) + ']'.repeat(100_000) }],
    ['a query that is unknown', '/api/requests?sate=pending', {}],
    ['an id that is none', '/api/recordings/..%2f..%2fetc', {}],
    [
      'a tab in the content type',
      '/api/requests',
      { method: 'POST', body: '{}', headers: { 'content-type': 'application/json\ta' } },
    ],
    [
      'a form',
      '/api/requests',
      { method: 'POST', body: 'a=b', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    ],
  ]

  test.each(wrong)('answers %s with one refusal that says what is wrong', async (_, path, init) => {
    const browser = await world.person.erin.browser()
    const headers = {
      origin: world.origin,
      'content-type': 'application/json',
      ...(init.headers as Record<string, string>),
    }
    const { method } = init
    const answer = await browser.send(world.origin + path, method === undefined ? {} : { ...init, headers })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.status).toBeLessThan(500)
    const { error } = (await answer.json()) as { error: Record<string, unknown> }
    expect(error).toMatchObject({
      code: expect.any(String),
      message: expect.stringMatching(/\w+/),
      remedy: expect.stringMatching(/\w+/),
    })
    expect((await world.person.erin.get('/api/me')).status).toBe(200)
  })
})

describe('statements', () => {
  test('that do not parse are told as PostgreSQL tells them, and the connection goes on', async () => {
    const { erin } = world.person
    const { stdout, stderr } = await erin.psql(
      await erin.ticket(),
      "selec 1;\nselect 'unfinished;\n';\nselect * from nowhere;\nselect 1 +;\nselect 'on';",
    )
    expect(stdout.endsWith('on\n')).toBe(true)
    expect(stderr).toMatch(/syntax error at or near "selec"/)
    expect(stderr).toMatch(/nowhere/)
  })
})

describe('a result of a million rows', () => {
  const mebibyte = 1024
  const peak = (pid: number) => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])

  test.each([
    ['plain', 'select g, o.id, o.status from orders o, generate_series(1, 5000) g where o.id <= 200'],
    ['masked', 'select g, c.national_id, c.card_number from customers c, generate_series(1, 5000) g where c.id <= 200'],
  ])('%s: passes in flat memory of the gateway', async (_, sql) => {
    const { erin } = world.person
    const ticket = await erin.ticket()
    const [worker] = await world.workers()
    await erin.psql(ticket, sql.replace('5000', '500'), ['-o', '/dev/null']) // what is compiled and cached is there before
    writeFileSync(`/proc/${worker!.pid}/clear_refs`, '5') // the peak counts from here
    const before = peak(worker!.pid)
    const { code, stderr } = await erin.psql(ticket, `${sql};`, ['-o', '/dev/null', '-v', 'FETCH_COUNT=0'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(peak(worker!.pid) - before).toBeLessThan((64 + 32) * mebibyte)
  })
})
