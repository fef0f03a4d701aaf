import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { bundleDigest, packBundle, unpackBundle } from '../../src/policy/bundle.ts'
import { compile, type ProtocolCheck } from '../../src/policy/gate.ts'
import { type Problem, Refused } from '../../src/policy/problem.ts'
import { acceptAll, bundleOf, opaPath, starter, starterRoot } from './support.ts'

async function problems(
  changes: Readonly<Record<string, string | null>>,
  protocols: ProtocolCheck = acceptAll,
): Promise<readonly Problem[]> {
  try {
    await compile(starter(changes), { opa: opaPath(), protocols })
    return []
  } catch (error) {
    if (error instanceof Refused) return error.problems
    throw error
  }
}

const text = (path: string) => readFileSync(join(starterRoot, path), 'utf8')
const lineWith = (source: string, part: string) => source.split('\n').findIndex(line => line.includes(part)) + 1

describe('the gate', () => {
  test.each([
    ['a misspelt field of the input', 'input.action.verb in verbs', 'input.action.vreb in verbs', 'undefined ref'],
    ['a field of another point', 'input.role == "reader"', 'input.votes == []', 'undefined ref'],
    ['a syntax error', 'verbs := {', 'verbs := {{', 'rego_parse_error'],
    ['an unused import', 'verbs := {', 'import data.sallyport.lib.people\n\nverbs := {', 'unused'],
  ])('refuses %s with file and line', async (_, from, to, message) => {
    const source = text('action/action.rego').replace(from, to)
    const [first] = await problems({ 'action/action.rego': source })
    expect(first?.file).toBe('action/action.rego')
    expect(first?.line).toBeGreaterThan(0)
    expect(`${first?.code} ${first?.message}`).toContain(message)
  })

  test.each([
    'http.send({"method": "get", "url": "http://127.0.0.1"})',
    'time.now_ns()',
    'rand.intn("x", 10)',
    'opa.runtime()',
    'uuid.rfc4122("x")',
    'io.jwt.decode("x")',
    'sprintf("%s", ["x"])',
    'time.parse_rfc3339_ns("2026-01-01T00:00:00Z")',
  ])('PO4: refuses the builtin of %s', async call => {
    const source = `${text('action/action.rego')}\nx := ${call}\n`
    const [first] = await problems({ 'action/action.rego': source })
    expect(first?.message).toContain('undefined function')
    expect([first?.file, first?.line]).toEqual(['action/action.rego', lineWith(source, call)])
  })

  test('refuses a misspelt field of the input in a library', async () => {
    const [first] = await problems({
      'lib/people.rego': text('lib/people.rego').replace('input.subject.groups', 'input.subject.gruops'),
    })
    expect([first?.file, first?.message.includes('undefined ref')]).toEqual(['lib/people.rego', true])
  })

  test('refuses a rule without an id, an id that stands twice, and an id that no rule declares', async () => {
    const source = text('action/action.rego')
    const without = await problems({ 'action/action.rego': `${source}\nallow if input.role == "owner"\n` })
    expect(without).toEqual([
      expect.objectContaining({
        code: 'rule_id',
        file: 'action/action.rego',
        message: expect.stringContaining('this allow rule has no id'),
      }),
    ])
    const twice = await problems({ 'action/action.rego': source.replace('rule: action.unknown', 'rule: action.role') })
    expect(twice[0]?.message).toContain('stands at action/action.rego:')
    const undeclared = await problems({
      'action/action.rego': source.replace('"rule": "action.default"', '"rule": "action.other"'),
    })
    expect(undeclared[0]?.message).toContain('"action.other" is declared by no rule')
  })

  test('refuses a default rule without an id', async () => {
    const source = text('replay/replay.rego').replace('# custom: { rule: replay.default }\n', '')
    expect((await problems({ 'replay/replay.rego': source })).map(p => p.message).join()).toContain(
      'this default rule has no id',
    )
  })

  test('refuses a failing test, and names it', async () => {
    const source = `${text('replay/replay_test.rego')}\ntest_wrong if 1 == 2\n`
    expect(await problems({ 'replay/replay_test.rego': source })).toEqual([
      {
        code: 'test',
        file: 'replay/replay_test.rego',
        line: lineWith(source, 'test_wrong'),
        message: 'the test test_wrong fails',
      },
    ])
  })

  test('refuses a policy without one of the points', async () => {
    expect((await problems({ 'alerts/alerts.rego': null, 'alerts/alerts_test.rego': null })).map(p => p.file)).toEqual([
      'alerts/alerts.rego',
    ])
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

  test('refuses a data file that does not fit its schema, with the line', async () => {
    const source = text('resources/data.yaml').replace('address: 127.0.0.1:5455', 'address: not an address')
    const [first] = await problems({ 'resources/data.yaml': source })
    expect([first?.code, first?.file, first?.line]).toEqual([
      'data',
      'resources/data.yaml',
      lineWith(source, 'not an address'),
    ])
    const roles = text('roles/data.yaml').replace('max_s: 28800', 'max_s: forever')
    const [second] = await problems({ 'roles/data.yaml': roles })
    expect([second?.file, second?.line]).toEqual(['roles/data.yaml', lineWith(roles, 'forever')])
    expect(
      (await problems({ 'resources/data.yaml': text('resources/data.yaml').replace('labels:', 'lables:') })).length,
    ).toBeGreaterThan(0)
    const [unread] = await problems({ 'resources/data.yaml': 'shop-db:\n  protocol: postgres\n  - address\n' })
    expect([unread?.code, unread?.file, unread?.line]).toEqual(['data', 'resources/data.yaml', 1])
    expect(unread?.message).toContain('cannot be read')
  })

  test('refuses options that the protocol refuses, and masking that it cannot do', async () => {
    const [options] = await problems({}, { checkResource: p => `${p}: database is missing`, canMask: () => true })
    expect([options?.file, options?.message.includes('database is missing')]).toEqual(['resources/data.yaml', true])
    const cannot = await problems({}, { checkResource: () => null, canMask: () => false })
    expect(cannot[0]?.code).toBe('unsupported')
  })

  test('refuses originals that nobody of the deployment could open; where the deployment is not known it cannot say', async () => {
    const sealed = {
      'recording/recording.rego': text('recording/recording.rego').replace(
        '"originals": "drop"',
        '"originals": "sealed"',
      ),
      'recording/recording_test.rego': null,
    }
    const [problem] = await problems(sealed, { ...acceptAll, keepsOriginals: false })
    expect([problem?.code, problem?.file]).toEqual(['unsupported', 'recording/recording.rego'])
    expect(problem?.message).toContain('names nobody who could open them')
    expect(await problems(sealed)).toEqual([])
  })

  test('refuses a result of the wrong shape, an undefined one and an unsupported one before anybody meets it', async () => {
    const recording = (result: string) => ({
      'recording/recording.rego': `package sallyport.recording\n${result}`,
      'recording/recording_test.rego': null,
    })
    expect((await problems(recording('result := {"level": "full"}')))[0]?.code).toBe('policy_shape')
    expect((await problems(recording('result := {"level": "ful"}')))[0]).toMatchObject({ code: 'word', line: 2 })
    expect((await problems(recording('result := 1 if input.role == "x"')))[0]?.code).toBe('policy_undefined')
    const redact = '"transform": {"kind": "redact"},'
    const allowing = {
      'masking/masking.rego': text('masking/masking.rego').replace(redact, `${redact} "predicates": "allow",`),
      'masking/masking_test.rego': null,
    }
    expect((await problems(allowing))[0]?.code).toBe('unsupported')
    const endless = 'result := 1 if { xs := numbers.range(1, 3000); some a in xs; some b in xs; a < b; b < a }'
    expect((await problems(recording(endless)))[0]?.code).toBe('policy_fuel')
  })

  test('refuses a secret that the deployment does not declare, and takes one that it does', async () => {
    const found = async (secrets: readonly string[]) => {
      try {
        await compile(starter(), { opa: opaPath(), protocols: acceptAll, secrets })
        return []
      } catch (error) {
        if (error instanceof Refused) return error.problems
        throw error
      }
    }
    const line = lineWith(text('resources/data.yaml'), 'secret: shop-gateway')
    const message = 'shop-db.secret: this deployment declares no secret shop-gateway: did you mean shop-gatewy?'
    expect(await found(['shop-gatewy'])).toEqual([{ code: 'data', file: 'resources/data.yaml', line, message }])
    expect(await found(['shop-gateway'])).toEqual([])
  })

  test('refuses tests that run less than the repository demands, with the lines that none runs', async () => {
    const demand = '# ours\ntests:\n  min_coverage: 100\n'
    const added = `${text('access/access.rego')}\nunused if {\n\tinput.role == "x"\n}\n`
    const found = await problems({ 'policy.yaml': demand, 'access/access.rego': added })
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
      starter({
        'retention/retention.rego': rego,
        'masking/masking.rego': labels,
        'masking/masking_test.rego': null,
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

  test('refuses needs that this version cannot give', async () => {
    const source = text('action/action.rego').replace(
      'package sallyport.action',
      '# custom: { needs: [literals] }\npackage sallyport.action',
    )
    expect((await problems({ 'action/action.rego': source }))[0]?.code).toBe('unsupported')
    const time = source.replace('[literals]', '[time]')
    expect((await bundleOf({ 'action/action.rego': time })).meta.needs).toEqual(['time'])
  })

  test('gives the same digest for the same sources, and another one for another', async () => {
    const again = (await compile(starter(), { opa: opaPath(), protocols: acceptAll })).bundle
    expect(bundleDigest(again)).toBe(bundleDigest(await bundleOf()))
    const changed = await bundleOf({
      'roles/data.yaml': text('roles/data.yaml').replace('max_s: 28800', 'max_s: 28801'),
    })
    expect(bundleDigest(changed)).not.toBe(bundleDigest(again))
  })
})

describe('hostile data files', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)

  test.each([126, 127, 128, 5000])('a depth of %i is refused or can be loaded by every process', async depth => {
    const changes = { 'own/data.json': `{"deep": ${nested(depth)}}` }
    const found = await problems(changes)
    if (found.length === 0) expect(unpackBundle(packBundle(await bundleOf(changes))).data).toHaveProperty('own')
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
