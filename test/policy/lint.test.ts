import { beforeAll, describe, expect, test } from 'vitest'
import { opaFacts, Workspace } from '../../src/policy/compiler.ts'
import { compile } from '../../src/policy/gate.ts'
import { inputSchema } from '../../src/policy/json-schemas.ts'
import { lint } from '../../src/policy/lint/lint.ts'
import { type Problem, Refused } from '../../src/policy/problem.ts'
import { acceptAll, opaPath, starter, starterRoot } from './support.ts'

/** Mistakes that OPA's own check passes: what they are, the lines, and what we say of the line marked with `#!`. */
const mistakes: [what: string, file: string, lines: string, message: string][] = [
  [
    'a misspelt field of a parameter',
    'access/a.rego',
    'a1 if is_person(input.subject)\n\nis_person(s) if s.knid == "person" #!',
    'input.subject has no field knid: did you mean kind?',
  ],
  [
    'a misspelt field of a parameter that comes through two functions',
    'access/a.rego',
    'a2 if outer(input)\n\nouter(i) if inner(i.resource)\n\ninner(r) if r.protokol == "x" #!',
    'input.resource has no field protokol: did you mean protocol?',
  ],
  [
    'a misspelt field of what a function returns',
    'access/a.rego',
    'a3 := [v | v := votes_of(input)[_].anser] #!\n\nvotes_of(i) := i.votes',
    'input.votes[_] has no field anser: did you mean answer?',
  ],
  [
    'a misspelt field inside of every',
    'access/a.rego',
    'a4 if every vote in input.votes {\n\tnamed(vote)\n}\n\nnamed(vote) if vote.aprover != "" #!',
    'input.votes[_] has no field aprover: did you mean approver?',
  ],
  [
    'a field of a library function that the input of its caller does not have',
    'lib/b.rego',
    'gruop_of(s) := s.gruops #!',
    'input.subject has no field gruops: did you mean groups?',
  ],
  [
    'a misspelt path of object.get',
    'access/a.rego',
    'a5 := object.get(input, ["subject", "gruops"], []) #!',
    'input.subject has no field gruops: did you mean groups?',
  ],
  [
    'a misspelt name of object.get',
    'access/a.rego',
    'a6 := object.get(input.subject, "emial", "") #!',
    'input.subject has no field emial: did you mean email?',
  ],
  [
    'a misspelt path of json.remove',
    'access/a.rego',
    'a7 := json.remove(input, ["subject/clams"]) #!',
    'input.subject has no field clams: did you mean claims?',
  ],
  [
    'a misspelt field of a resource of the data files',
    'access/a.rego',
    'a8 if data.resources[_].lables.env == "staging" #!',
    'data.resources[_] has no field lables: did you mean labels?',
  ],
  [
    'a misspelt field of a role of the data files',
    'access/a.rego',
    'a9 if {\n\tsome group\n\tdata.roles[group].reader[_].max_sec > 60 #!\n}',
    'data.roles[_][_][_] has no field max_sec: did you mean max_s?',
  ],
  [
    'a word that a field never has',
    'access/a.rego',
    'a10 if input.stage == "conect" #!',
    'input.stage is never "conect": did you mean "connect"?',
  ],
  [
    'a word that a field never has, on the left',
    'access/a.rego',
    'a11 if "robot" != input.subject.kind #!',
    'input.subject.kind is never "robot": there are "person", "machine", "system"',
  ],
  [
    'a word that a field never has, in a set',
    'access/a.rego',
    'a12 if input.stage in {"request", "tickte"} #!',
    'input.stage is never "tickte": did you mean "ticket"?',
  ],
  [
    'a word that a field never has, in a table of constants',
    'access/a.rego',
    'a13 if input.stage in stages[input.role]\n\nstages := {"reader": {"live", "requst"}} #!',
    'input.stage is never "requst": did you mean "request"?',
  ],
  [
    'a row of a table that no field ever names',
    'access/a.rego',
    'a14 := long[input.stage]\n\nlong := {"life": 1} #!',
    'input.stage is never "life": did you mean "live"?',
  ],
  [
    'a day that no week has',
    'access/a.rego',
    'a15 if input.time.weekday in {"Sat", "Son"} #!',
    'input.time.weekday is never "Son": did you mean "Sun"?',
  ],
  [
    'a misspelt field in a test',
    'access/a_test.rego',
    'test_a if access.result.effect == "deny" with input as {"subject": {"gruops": []}} #!',
    'input.subject has no field gruops: did you mean groups?',
  ],
  [
    'a misspelt field in a test, put together by functions and unions',
    'access/a_test.rego',
    'test_b if denied(object.union(asked("reader"), {"request": {"duration": 7}})) #!\n\ndenied(q) if access.result.effect == "deny" with input as q\n\nasked(role) := {"role": role}',
    'input.request has no field duration: did you mean duration_s?',
  ],
  [
    'a misspelt place to put a value in a test',
    'access/a_test.rego',
    'test_c if access.result.effect == "deny" with input.subject.gruops as [] #!',
    'input.subject has no field gruops: did you mean groups?',
  ],
  [
    'a word in a test that no input ever has',
    'access/a_test.rego',
    'test_d if every stage in ["live", "conect"] { #!\n\taccess.result.effect == "deny" with input as {"stage": stage}\n}',
    'input.stage is never "conect": did you mean "connect"?',
  ],
  [
    'a misspelt field of the data in a test',
    'access/a_test.rego',
    'test_e if access.result.effect == "deny" with data.roles as {"x": {"reader": [{"label": {}, "max_s": 60}]}} #!',
    'data.roles[_][_][_] has no field label: did you mean labels?',
  ],
  [
    'a library that reads what this point is not asked with',
    'recording/recording.rego',
    'at_work if hours.office #!',
    'hours.office reads input.time.weekday, which recording is not asked with',
  ],
  [
    'the time in the rules of actions, which do not ask for it',
    'action/late.rego',
    'late if input.time.minute_of_day > 1080 #!',
    'input has no field time here: write `# custom: { needs: [time] }` above the package, which costs the cache',
  ],
  [
    'a misspelt member of a result',
    'recording/recording.rego',
    'result := {"level": "full", "results": "all", "head_row": 7, "strict": false, "originals": "drop"} if input.role == "x" #!',
    'result has no field head_row: did you mean head_rows?',
  ],
]

const heads: Record<string, string> = {
  'access/a.rego':
    'package sallyport.access\n\nimport data.sallyport.lib.people\n\na0 if people.gruop_of(input.subject)\n',
  'access/a_test.rego': 'package sallyport.access_a_test\n\nimport data.sallyport.access\n',
  'lib/b.rego': 'package sallyport.lib.people\n',
  'action/late.rego': 'package sallyport.action\n',
}

/** All mistakes in one repository: each is found by its own line. */
function wrong(): { sources: Map<string, Buffer>; lineOf: (message: string, lines: string) => number } {
  const sources = starter()
  for (const file of new Set(mistakes.map(([, file]) => file))) {
    const whole = sources.get(file)?.toString('utf8') ?? heads[file] ?? ''
    const before = file.startsWith('recording/')
      ? whole.replace('import ', 'import data.sallyport.lib.hours\nimport ')
      : whole
    const added = mistakes.filter(([, of]) => of === file).map(([, , lines]) => `${lines}\n`)
    sources.set(file, Buffer.from([before, ...added].join('\n')))
  }
  const lineOf = (file: string, lines: string) => {
    const marked = lines.split('\n').find(line => line.includes('#!'))
    return sources.get(file)!.toString('utf8').split('\n').indexOf(marked!) + 1
  }
  return { sources, lineOf }
}

describe('what opa check passes and the gate refuses', () => {
  const { sources, lineOf } = wrong()
  let ofOpa: readonly Problem[]
  let ofGate: readonly Problem[]

  beforeAll(async () => {
    using workspace = new Workspace(await opaFacts(opaPath()), sources)
    ofOpa = [
      ...(await workspace.check(inputSchema('access'), ['access', 'lib'])),
      ...(await workspace.check(inputSchema('recording'), ['recording', 'lib/places.rego'])),
      ...(await workspace.check(inputSchema('action'), ['action'])),
    ]
    ofGate = await compile(sources, { opa: opaPath(), protocols: acceptAll }).then(
      () => [],
      (error: unknown) => {
        if (error instanceof Refused) return error.problems
        throw error
      },
    )
  })

  test('opa check --strict with the schema of the point finds nothing', () => {
    expect(ofOpa).toEqual([])
  })

  test.each(mistakes)('%s is refused with its line and what was meant', (_, file, lines, message) => {
    expect(ofGate).toContainEqual({
      code: expect.stringMatching(/^(field|word)$/),
      file,
      line: lineOf(file, lines),
      message,
    })
  })

  test('nothing else is refused', () => {
    const more = 'hours.office reads input.time.minute_of_day, which recording is not asked with'
    expect(ofGate.filter(({ message }) => message !== more)).toHaveLength(mistakes.length)
  })
})

describe('what the lints leave alone', () => {
  const trees = async (files: Record<string, string>) => {
    const made = new Map(Object.entries(files).map(([file, text]) => [file, Buffer.from(text)]))
    using workspace = new Workspace(await opaFacts(opaPath()), made)
    return await workspace.parse([...made.keys()])
  }

  test('what is right, and what cannot be known before it runs', async () => {
    const { problems } = await lint(
      await trees({
        'access/access.rego': `package sallyport.access

own := object.union(input.subject, {"team": "a"})

a if own.team == "a"

b(x) if x.anything == 1

c if b({"anything": 1})

d if {
	some key, value in input.subject.claims
	value.deep[key] == "x"
}

e if input.resource.labels.tier == "gold"

f if input.role == "whatever"

g := object.get(input.subject.claims, ["team", "lead"], "")

h if {
	subject := {"knid": "person"}
	subject.knid == "person"
}

i(subject) if subject.team == "a"

j if i(own)

k := object.get(input, "grant", {"mine": 1}).mine

l if input.stage == input.role
`,
        'access/access_test.rego': `package sallyport.access_test

import data.sallyport.access

test_x if access.a with input as {"subject": {"claims": {"deep": {"x": 1}}}, "resource": {"labels": {"tier": "gold"}}}

test_y if not access.f with input as {}

mine(x) := {"own": x}

test_z if mine(1).own == 1
`,
      }),
    )
    expect(problems).toEqual([])
  })

  test('a label that no resource has is a warning, with the one that was meant', async () => {
    const linted = await lint(
      await trees({ 'access/access.rego': 'package sallyport.access\n\na if input.resource.labels.evn == "x"\n' }),
    )
    const resource = { protocol: 'x', address: 'h:1', labels: { env: 'staging' } }
    expect(linted.labels({ resources: { db: resource }, roles: {} })).toEqual([
      {
        code: 'label',
        file: 'access/access.rego',
        line: 3,
        message: 'no resource has the label evn: did you mean env?',
      },
    ])
  })

  test('functions that call each other in circles, and thousands of them, end within bounds', async () => {
    const circle = 'f(x) := g(x)\n\ng(x) := f(x.subject)\n\nh := f(input)\n'
    const many = Array.from(
      { length: 2000 },
      (_, i) => `p${i}(x) := p${(i * 7 + 1) % 2000}(x.a)\n\nq${i} := p${i}(input)\n`,
    )
    const started = performance.now()
    const files = { 'access/access.rego': `package sallyport.access\n\n${circle}\n${many.join('\n')}` }
    const { problems } = await lint(await trees(files))
    expect(problems.every(({ code }) => code === 'field' || code === 'lint_limits')).toBe(true)
    expect(performance.now() - started).toBeLessThan(60_000)
  })

  test('a value that may be one of two, again and again, is followed: what it is called does not double with each step', async () => {
    const steps = Array.from({ length: 30 }, (_, i) => [
      `a${i + 1} := a${i}\n\na${i + 1} := b${i}`,
      `b${i + 1} := b${i}\n\nb${i + 1} := a${i}`,
    ]).flat()
    const begin = ['a0 := input.subject', 'b0 := input.requester', 'found if a30.id == b30.id']
    const files = { 'approve/names.rego': `package sallyport.approve\n\n${[...begin, ...steps].join('\n\n')}\n` }
    expect((await lint(await trees(files))).problems).toEqual([])
  })

  test('what is asked of many calls or of a large table at many places is too tangled, not an hour of work', async () => {
    const calls = Array.from({ length: 3_000 }, (_, i) => `c${i} if f(input.subject, ${i})`)
    const uses = Array.from({ length: 3_000 }, (_, i) => `\tx.id != "${i}"`)
    const rego = [`f(x, _) if {\n${uses.join('\n')}\n}`, ...calls].join('\n\n')
    const { problems } = await lint(await trees({ 'access/calls.rego': `package sallyport.access\n\n${rego}\n` }))
    expect(problems.map(({ code }) => code)).toEqual(['lint_limits'])

    const rows = Array.from({ length: 3_000 }, (_, i) => `\t"${i}": 1,`)
    const reads = Array.from({ length: 3_000 }, (_, i) => `\ttable[input.subject.kind] != ${i}`)
    const table = `table := {\n${rows.join('\n')}\n}\n\nread if {\n${reads.join('\n')}\n}\n`
    const large = await lint(await trees({ 'access/table.rego': `package sallyport.access\n\n${table}` }))
    expect(large.problems.map(({ code }) => code)).toContain('lint_limits')
  })
})

test('the starter policies are without a finding', async () => {
  const sources = starter()
  using workspace = new Workspace(await opaFacts(opaPath()), sources)
  const { problems } = await lint(await workspace.parse([...sources.keys()].filter(path => path.endsWith('.rego'))))
  expect([starterRoot, problems]).toEqual([starterRoot, []])
})
