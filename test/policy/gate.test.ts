import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { bundleDigest, packBundle, unpackBundle } from '../../src/policy/bundle.ts'
import { opaFacts, Workspace } from '../../src/policy/compiler.ts'
import { type Compiled, compile, type GateOptions, type ProtocolCheck } from '../../src/policy/gate.ts'
import { type Problem, Refused } from '../../src/policy/problem.ts'
import type { Sources } from '../../src/policy/repository/sources.ts'
import { acceptAll, bundleOf, lean, opaPath, starter, starterRoot } from './support.ts'

type Changes = Readonly<Record<string, string | null>>

async function put(sources: Sources, options: Partial<GateOptions> = {}): Promise<Compiled | readonly Problem[]> {
  try {
    return await compile(sources, { opa: opaPath(), protocols: acceptAll, ...options })
  } catch (error) {
    if (error instanceof Refused) return error.problems
    throw error
  }
}

async function problems(changes: Changes, options: Partial<GateOptions> = {}): Promise<readonly Problem[]> {
  const found = await put(lean(changes), options)
  return 'bundle' in found ? [] : found
}

const protocols = (change: Partial<ProtocolCheck>): Partial<GateOptions> => ({
  protocols: { ...acceptAll, ...change },
})
const text = (path: string) => readFileSync(join(starterRoot, path), 'utf8')
const lineWith = (source: string, part: string) => source.split('\n').findIndex(line => line.includes(part)) + 1

const builtins = [
  'http.send({"method": "get", "url": "http://127.0.0.1"})',
  'time.now_ns()',
  'rand.intn("x", 10)',
  'opa.runtime()',
  'uuid.rfc4122("x")',
  'io.jwt.decode("x")',
  'sprintf("%s", ["x"])',
  'time.parse_rfc3339_ns("2026-01-01T00:00:00Z")',
]

describe('of a commit with many faults the gate', () => {
  const action = text('action/action.rego')
    .replace('input.action.verb in verbs', 'input.action.vreb in verbs')
    .replace('input.role == "reader"', 'input.votes == []')
  const approve = text('approve/approve.rego').replace(
    'package sallyport.approve\n',
    'package sallyport.approve\n\nimport data.sallyport.lib.people\n',
  )
  const alerts = `${text('alerts/alerts.rego')}\n${builtins.map((call, i) => `x${i} := ${call}`).join('\n')}\n`
  const people = text('lib/people.rego').replace('input.subject.groups', 'input.subject.gruops')
  let found: readonly Problem[]
  beforeAll(async () => {
    found = await problems({
      'action/action.rego': action,
      'approve/approve.rego': approve,
      'alerts/alerts.rego': alerts,
      'lib/people.rego': people,
      'recording/recording.rego': 'package sallyport.recording\nresult := {"level": "ful"}',
    })
  })

  test.each([
    ['a misspelt field of the input', 'action/action.rego', action, 'input.action.vreb', 'undefined ref'],
    ['a field of another point', 'action/action.rego', action, 'input.votes', 'undefined ref'],
    ['a misspelt field of the input in a library', 'lib/people.rego', people, 'input.subject.gruops', 'undefined ref'],
    ['an unused import', 'approve/approve.rego', approve, 'import data.sallyport.lib.people', 'unused'],
  ])('refuses %s with file and line', (_, file, source, part, message) => {
    const problem = found.find(each => each.file === file && each.line === lineWith(source, part))
    expect(`${problem?.code} ${problem?.message}`).toContain(message)
  })

  test.each(builtins)('PO4: refuses the builtin of %s', call => {
    const problem = found.find(each => each.file === 'alerts/alerts.rego' && each.line === lineWith(alerts, call))
    expect(problem?.message).toContain('undefined function')
  })

  test('refuses a word that an answer never has', () => {
    expect(found.find(each => each.file === 'recording/recording.rego')).toMatchObject({ code: 'word', line: 2 })
  })
})

describe('the gate', () => {
  test('refuses a syntax error with file and line', async () => {
    const source = text('action/action.rego').replace('verbs := {', 'verbs := {{')
    const [first] = await problems({ 'action/action.rego': source })
    expect(first).toMatchObject({ code: 'rego_parse_error', file: 'action/action.rego' })
    expect(first?.line).toBeGreaterThan(0)
  })

  test('refuses rules without an id, default rules too, an id that stands twice, one that no rule declares, and needs that it cannot give', async () => {
    const found = await problems({
      'approve/approve.rego': `${text('approve/approve.rego')}\nallow if input.via == "owner"\n`,
      'action/action.rego': text('action/action.rego')
        .replace('rule: action.unknown', 'rule: action.role')
        .replace('"rule": "action.default"', '"rule": "action.other"')
        .replace('package sallyport.action', '# custom: { needs: [literals] }\npackage sallyport.action'),
      'replay/replay.rego': text('replay/replay.rego').replace('# custom: { rule: replay.default }\n', ''),
    })
    const of = (file: string) => found.filter(each => each.file === file)
    const told = (file: string) =>
      of(file)
        .map(each => each.message)
        .join('\n')
    expect(of('approve/approve.rego')).toEqual([
      expect.objectContaining({ code: 'rule_id', message: expect.stringContaining('this allow rule has no id') }),
    ])
    expect(told('action/action.rego')).toContain('stands at action/action.rego:')
    expect(told('action/action.rego')).toContain('"action.other" is declared by no rule')
    expect(of('action/action.rego').map(each => each.code)).toContain('unsupported')
    expect(told('replay/replay.rego')).toContain('this default rule has no id')
  })

  test('refuses a failing test, and names it', async () => {
    const source = `${text('replay/replay_test.rego')}\ntest_wrong if 1 == 2\n`
    expect(await put(starter({ 'replay/replay_test.rego': source }))).toEqual([
      {
        code: 'test',
        file: 'replay/replay_test.rego',
        line: lineWith(source, 'test_wrong'),
        message: 'the test test_wrong fails',
      },
    ])
  })

  test('refuses a policy without one of the points', async () => {
    expect((await problems({ 'alerts/alerts.rego': null })).map(p => p.file)).toEqual(['alerts/alerts.rego'])
  })

  test('refuses modules and data where nothing checks them', async () => {
    expect((await problems({ 'other/x.rego': 'package other\nx := 1' }))[0]?.file).toBe('other/x.rego')
    expect((await problems({ 'data.json': '{"roles": {}}' }))[0]?.file).toBe('data.json')
    expect((await problems({ 'sallyport/data.json': '{"admin": {"result": {"effect": "allow"}}}' }))[0]?.file).toBe(
      'sallyport/data.json',
    )
    expect(
      (await problems({ 'lib/sneak.rego': 'package sallyport.admin\nimport rego.v1\nx := 1' }))[0]?.message,
    ).toContain('belongs to sallyport.lib')
  })

  test('refuses data files that do not fit their schema, with the line', async () => {
    const resources = text('resources/data.yaml')
      .replace('address: 127.0.0.1:5455', 'address: not an address')
      .replace(/labels:(?![\s\S]*\n {2}labels:)/, 'lables:')
    const roles = text('roles/data.yaml').replace('max_s: 28800', 'max_s: forever')
    const found = await problems({ 'resources/data.yaml': resources, 'roles/data.yaml': roles })
    const at = (file: string, line: number) => found.find(each => each.file === file && each.line === line)
    expect(at('resources/data.yaml', lineWith(resources, 'not an address'))?.code).toBe('data')
    expect(at('resources/data.yaml', lineWith(resources, 'lables'))?.code).toBe('data')
    expect(at('roles/data.yaml', lineWith(roles, 'forever'))?.code).toBe('data')
    const [unread] = await problems({ 'resources/data.yaml': 'shop-db:\n  protocol: postgres\n  - address\n' })
    expect([unread?.code, unread?.file, unread?.line]).toEqual(['data', 'resources/data.yaml', 1])
    expect(unread?.message).toContain('cannot be read')
  })

  test('refuses options that the protocol refuses, and a secret that the deployment does not declare', async () => {
    const found = await problems(
      {},
      { ...protocols({ checkResource: p => `${p}: database is missing` }), secrets: ['shop-gatewy'] },
    )
    expect(found[0]).toMatchObject({
      file: 'resources/data.yaml',
      message: expect.stringContaining('database is missing'),
    })
    expect(found).toContainEqual({
      code: 'data',
      file: 'resources/data.yaml',
      line: lineWith(text('resources/data.yaml'), 'secret: shop-gateway'),
      message: 'shop-db.secret: this deployment declares no secret shop-gateway: did you mean shop-gatewy?',
    })
  })

  test('refuses results of the wrong shape, endless ones, and what this build or the protocol cannot do, before anybody meets them', async () => {
    const redact = '"transform": {"kind": "redact"},'
    const endless = 'result := 1 if { xs := numbers.range(1, 3000); some a in xs; some b in xs; a < b; b < a }'
    const found = await problems(
      {
        'recording/recording.rego': 'package sallyport.recording\nresult := {"level": "full"}',
        'retention/retention.rego': `package sallyport.retention\n${endless}`,
        'masking/masking.rego': text('masking/masking.rego').replace(redact, `${redact} "predicates": "allow",`),
      },
      protocols({ canMask: () => false }),
    )
    const codes = (point: string) => new Set(found.filter(each => each.file?.startsWith(point)).map(each => each.code))
    expect(codes('recording')).toEqual(new Set(['policy_shape']))
    expect(codes('retention')).toEqual(new Set(['policy_fuel']))
    expect(codes('masking')).toEqual(new Set(['unsupported']))
    for (const said of ['predicates', 'cannot mask']) expect(JSON.stringify(found)).toContain(said)
  })

  test('refuses an undefined result, and originals that nobody of the deployment could open; where the deployment is not known it cannot say', async () => {
    const sealed = {
      'recording/recording.rego': text('recording/recording.rego').replace(
        '"originals": "drop"',
        '"originals": "sealed"',
      ),
    }
    const undefinedResult = 'package sallyport.retention\nresult := 1 if input.class == "x"'
    const found = await problems(
      { ...sealed, 'retention/retention.rego': undefinedResult },
      protocols({ keepsOriginals: false }),
    )
    expect(found.find(each => each.file === 'recording/recording.rego')).toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('names nobody who could open them'),
    })
    expect(found.find(each => each.file === 'retention/retention.rego')?.code).toBe('policy_undefined')
    expect(await problems(sealed)).toEqual([])
  })

  test('refuses tests that run less than the repository demands, with the lines that none runs', async () => {
    const demand = '# ours\ntests:\n  min_coverage: 100\n'
    const added = `${text('access/access.rego')}\nunused if {\n\tinput.role == "x"\n}\n`
    const found = (await put(starter({ 'policy.yaml': demand, 'access/access.rego': added }))) as Problem[]
    expect(found[0]).toMatchObject({ code: 'coverage', file: 'policy.yaml', line: 3 })
    expect(found[0]?.message).toMatch(/^the tests run 9\d\.\d % of the lines; this repository demands 100 %$/)
    const last = added.split('\n').length - 3
    expect(found.find(p => p.file === 'access/access.rego')?.message).toContain(`${last}`)
  })

  test.each([
    ['tests:\n  min_covrage: 95\n', 2, '/tests/min_covrage: is unknown here'],
    ['test:\n  min_coverage: 95\n', 1, '/test: is unknown here'],
    ['tests:\n  min_coverage: 950\n', 2, '/tests/min_coverage: must be <= 100'],
    ['tests: [\n', 1, 'cannot be read'],
  ])('refuses settings of the repository that are not understood whole: %j', async (settings, line, message) => {
    const [first] = await problems({ 'policy.yaml': settings })
    expect(first).toMatchObject({
      code: 'settings',
      file: 'policy.yaml',
      line,
      message: expect.stringContaining(message),
    })
  })

  test('warns of what opa fmt writes differently, of unknown labels and of roles for nothing, and refuses none of it', async () => {
    const rego = text('retention/retention.rego').replace('day := 86400', 'day :=   86400')
    const labels = text('masking/masking.rego').replace(
      'input.resource.labels.class == "synthetic"',
      'input.resource.labels.clas == "none"',
    )
    const roles = text('roles/data.yaml').replace('class: server', 'class: servr')
    const { warnings } = await compile(
      lean({
        'retention/retention.rego': rego,
        'masking/masking.rego': labels,
        'roles/data.yaml': roles,
      }),
      { opa: opaPath(), protocols: acceptAll },
    )
    const near = (code: string) => warnings.find(w => w.code === code)
    expect(near('fmt')).toMatchObject({ file: 'retention/retention.rego', line: lineWith(rego, 'day :=   86400') })
    expect(near('label')).toMatchObject({ file: 'masking/masking.rego', line: lineWith(labels, 'labels.clas') })
    expect(near('data')).toMatchObject({ file: 'roles/data.yaml', line: lineWith(roles, 'servr') })
    expect(warnings).toHaveLength(3)
  })

  test('ends with a commit that takes longer than one may, and says so', async () => {
    using workspace = new Workspace(await opaFacts(opaPath()), lean(), 50)
    await expect(
      (async () => {
        for (;;) await workspace.parse(['action/action.rego'])
      })(),
    ).rejects.toMatchObject({ problems: [{ code: 'opa_limits' }] })
    expect(() => workspace.goOn()).toThrow(Refused)
  })

  test('gives a policy the time that it declares to need', async () => {
    const source = text('action/action.rego').replace(
      'package sallyport.action',
      '# custom: { needs: [time] }\npackage sallyport.action',
    )
    expect((await bundleOf({ 'action/action.rego': source })).meta.needs).toEqual(['time'])
  })

  test('gives the same digest for the same sources, with their tests or without, where every secret is declared; and another one for another', async () => {
    const again = await put(starter(), { secrets: ['shop-gateway'] })
    if (!('bundle' in again)) throw new Error(JSON.stringify(again))
    expect(bundleDigest(again.bundle)).toBe(bundleDigest(await bundleOf()))
    const changed = await bundleOf({
      'roles/data.yaml': text('roles/data.yaml').replace('max_s: 28800', 'max_s: 28801'),
    })
    expect(bundleDigest(changed)).not.toBe(bundleDigest(again.bundle))
  })
})

describe('hostile data files', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)

  test.each([126, 127, 128, 5000])('a depth of %i is refused or can be loaded by every process', async depth => {
    const found = await put(lean({ 'own/data.json': `{"deep": ${nested(depth)}}` }))
    if ('bundle' in found) expect(unpackBundle(packBundle(found.bundle)).data).toHaveProperty('own')
    else expect(found[0]?.code).toMatch(/^(data|source_size|rego_.*|opa.*)$/)
  })

  test('a bundle that no process would load is refused', () => {
    const bundle = { opa: '', opts: 1, caps: '', wasm: '', meta: { rules: {}, defaults: {}, needs: [] } }
    const data = { resources: {}, roles: {}, own: 'x'.repeat(64 << 20) }
    expect(() => packBundle({ ...bundle, data })).toThrow('are loaded')
  })

  test('a YAML file that unfolds to gigabytes is refused, not unfolded', async () => {
    const levels = Array.from({ length: 12 }, (_, i) =>
      i === 0
        ? 'l0: &l0 [x, x, x, x, x, x, x, x, x, x]'
        : `l${i}: &l${i} [${Array(10)
            .fill(`*l${i - 1}`)
            .join(', ')}]`,
    )
    expect(await problems({ 'own/data.yaml': `${levels.join('\n')}\n` })).not.toEqual([])
  })

  test('a key that stands twice in a data file is refused: a reader of the file would believe the other one', async () => {
    const roles = text('roles/data.yaml')
    const first = roles
      .split('\n')
      .find(line => /^[a-z][^:]*:/.test(line))!
      .split(':')[0]!
    const twice = `${roles}\n${first}:\n  admin:\n    - { names: [shop-db], max_s: 3600 }\n`
    const found = await problems({ 'roles/data.yaml': twice })
    expect(found[0]).toMatchObject({ file: 'roles/data.yaml' })
    const json = '{"a": {"x": 1, "x": 2}}'
    expect((await problems({ 'own/data.json': json }))[0]).toMatchObject({ file: 'own/data.json' })
  })

  test('__proto__ in a data file is data like any other', async () => {
    const resources = text('resources/data.yaml')
    const found = await problems({ 'resources/data.yaml': `${resources}\n__proto__: { protocol: postgres }\n` })
    expect(found[0]).toMatchObject({ code: 'data' })
  })
})
