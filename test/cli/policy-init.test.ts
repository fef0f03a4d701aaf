import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { impact } from '../../src/cli/impact.ts'
import { build, check, test as testPolicies } from '../../src/cli/policy.ts'
import { initRepository } from '../../src/cli/policy-init.ts'
import type { ImpactReport } from '../../src/policy/impact/impact.ts'
import { points } from '../../src/policy/points.ts'
import { accessInput, engineer, now, opaPath } from '../policy/support.ts'

const folder = join(mkdtempSync(join(tmpdir(), 'sallyport-init-')), 'policies')
const read = (path: string) => readFileSync(join(folder, path), 'utf8')

/** What a command prints, and its exit code. */
async function told(run: () => Promise<unknown>): Promise<{ code: unknown; out: string }> {
  let out = ''
  const spy = vi.spyOn(process.stdout, 'write').mockImplementation(text => {
    out += String(text)
    return true
  })
  try {
    return { code: await run(), out }
  } finally {
    spy.mockRestore()
  }
}

beforeAll(() => {
  process.env['OPA_BIN'] ??= opaPath()
})
afterAll(() => rmSync(join(folder, '..'), { recursive: true, force: true }))

describe('a new policy repository', () => {
  test('is written by one command, as a git repository, and says what comes next', async () => {
    const { out } = await told(() => initRepository(folder))
    expect(out).toContain('a git repository with nothing committed yet')
    expect(out).toContain(`sallyport policy check ${folder}`)
    expect(spawnSync('git', ['-C', folder, 'rev-parse', '--is-inside-work-tree']).status).toBe(0)
    for (const path of ['README.md', 'policy.yaml', '.editorconfig', '.vscode/tasks.json', 'access/access_test.rego'])
      expect([path, existsSync(join(folder, path))]).toEqual([path, true])
  })

  test('could be activated as it is, and its tests pass, without a server', async () => {
    const checked = await told(() => check(folder, {}))
    expect(checked).toEqual({ code: 0, out: 'The policies could be activated.\n' })
    const tested = await told(() => testPolicies(folder, {}))
    expect(tested.code).toBe(0)
    expect(tested.out).toMatch(/^\d+ passed, 0 failed, coverage (9\d|100)\.\d %\n$/)
    const built = await told(() => build(folder, { json: true }))
    expect(JSON.parse(built.out)).toMatchObject({ ok: true, digest: expect.stringMatching(/^[0-9a-f]{64}$/) })
  })

  test('holds the schema of every point, which opa check takes as it is', () => {
    for (const point of Object.keys(points)) {
      const input = JSON.parse(read(`schemas/${point}.input.json`)) as { properties: object }
      expect(Object.keys(input.properties).length).toBeGreaterThan(0)
      expect(JSON.parse(read(`schemas/${point}.result.json`))).toMatchObject({ title: `What ${point} answers` })
    }
    for (const [point, ...lib] of [['access', 'lib'], ['action'], ['recording', 'lib/places.rego']] as const) {
      const args = ['check', '--strict', '--schema', `schemas/${point}.input.json`, point, ...lib]
      const run = spawnSync(opaPath(), args, { cwd: folder, encoding: 'utf8' })
      expect([point, run.status, run.stderr]).toEqual([point, 0, ''])
    }
    const resources = JSON.parse(read('schemas/resources.json')) as {
      patternProperties: Record<string, { allOf: { if: object }[] }>
    }
    const [each] = Object.values(resources.patternProperties)
    expect(each?.allOf.map(branch => branch.if)).toContainEqual({ properties: { protocol: { const: 'ssh' } } })
  })

  test('has pipelines that run check and impact on each pull request', () => {
    const github = parse(read('.github/workflows/policy.yml')) as {
      on: object
      jobs: { policy: { steps: { run?: string }[] } }
    }
    expect(Object.keys(github.on)).toContain('pull_request')
    const runs = github.jobs.policy.steps.map(step => step.run ?? '').join('\n')
    expect(runs).toContain('sallyport policy check .')
    expect(runs).toContain('sallyport policy impact "$BASE...$HEAD"')
    const gitlab = parse(read('.gitlab-ci.yml')) as { policy: { script: string[] } }
    expect(gitlab.policy.script.join('\n')).toMatch(/policy check \.[\s\S]*policy impact/)
  })

  test('a mistake is printed where an editor jumps to, with what was meant, and as JSON', async () => {
    const file = join(folder, 'access/access.rego')
    const before = readFileSync(file, 'utf8')
    writeFileSync(file, `${before}\nmine if input.stage == "conect"\n`)
    const line = before.split('\n').length + 1
    const message = 'input.stage is never "conect": did you mean "connect"?'
    const { code, out } = await told(() => check(folder, {}))
    expect(code).toBe(1)
    expect(out).toContain(`${file}:${line}: ${message} [word]\n`)
    const json = await told(() => check(folder, { json: true }))
    expect(JSON.parse(json.out)).toEqual({
      ok: false,
      problems: [{ code: 'word', file: 'access/access.rego', line, message }],
      warnings: [],
    })
    const { tasks } = JSON.parse(read('.vscode/tasks.json')) as {
      tasks: { problemMatcher: { pattern: { regexp: string } } }[]
    }
    const [first = ''] = out.split('\n')
    expect(new RegExp(tasks[0]!.problemMatcher.pattern.regexp).exec(first)?.slice(1)).toEqual([
      file,
      `${line}`,
      message,
      'word',
      undefined,
    ])
    const pattern = new RegExp(tasks[0]!.problemMatcher.pattern.regexp)
    expect(pattern.exec('a/b.rego:3: the label clas [label] (warning)')?.slice(4)).toEqual(['label', 'warning'])
    writeFileSync(file, before)
  })

  test('a change of it shows before the merge whom it would hit, from an exported decision log', async () => {
    const git = (...args: string[]) => {
      const who = ['-c', 'user.name=Sam', '-c', 'user.email=sam@example.com', '-c', 'commit.gpgsign=false']
      expect(spawnSync('git', ['-C', folder, ...who, ...args]).status).toBe(0)
    }
    git('add', '--all')
    git('commit', '-qm', 'start')
    const rules = ['access/access.rego', '["dbas"], "quorum": 1', '["dbas", "leads"], "quorum": 1'] as const
    const standing = [
      'access/access.rego',
      '"dbas" in input.subject.groups',
      '"chief-dbas" in input.subject.groups',
    ] as const
    const tests = [
      'access/access_test.rego',
      'question(["dbas"], "reader")',
      'question(["dbas", "chief-dbas"], "reader")',
    ] as const
    const expected = ['access/access_test.rego', '"approvers": ["dbas"]', '"approvers": ["dbas", "leads"]'] as const
    const stages = [
      'access/access_test.rego',
      '[["dbas"], ["security-admins"]]',
      '[["dbas", "leads"], ["security-admins"]]',
    ] as const
    for (const [file, from, to] of [rules, standing, tests, expected, stages]) {
      expect(read(file)).toContain(from)
      writeFileSync(join(folder, file), read(file).replace(from, to))
    }
    expect(await told(() => check(folder, {}))).toMatchObject({ code: 0 })
    git('commit', '-qam', 'only chief DBAs read without asking')
    const dana = { ...engineer, id: 'sub_dana', name: 'Dana', groups: ['dbas'] }
    const asked = [accessInput(), accessInput({ subject: dana })].map((input, i) =>
      JSON.stringify({
        labels: { app: 'sallyport' },
        decision_id: `dec_${i}`,
        path: 'sallyport/access/result',
        input,
        timestamp: new Date(now).toISOString(),
      }),
    )
    const log = join(folder, '../decisions.jsonl')
    writeFileSync(log, `${asked.join('\n')}\n`)
    const { code, out } = await told(() =>
      impact(
        () => {
          throw new Error('no server is asked')
        },
        'HEAD~1..HEAD',
        { repo: folder, log: [log], format: 'json', zone: 'UTC', threads: 0, failOn: 'any:0' },
      ),
    )
    expect(code).toBe(3)
    const report = JSON.parse(out.slice(out.indexOf('{'))) as Pick<ImpactReport, 'changes' | 'groups'>
    expect(report.changes).toMatchObject({ asked: 1, terms: 1, denied: 0, allowed: 0 })
    expect(report.groups.map(({ subject, change }) => [subject?.name, change])).toEqual([
      ['Dana', 'asked'],
      ['Ada', 'terms'],
    ])
  })

  test('is never written over what is there', async () => {
    await expect(initRepository(folder)).rejects.toThrow('is not empty')
  })
})
