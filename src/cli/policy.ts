import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, plain, say } from './output.ts'

interface PolicyStatus {
  readonly active: { readonly generation: number; readonly commit: string; readonly digest: string } | null
  readonly stale: string | null
  /** Newest first, both. */
  readonly history: readonly { readonly generation: number; readonly activated_at_ms: number }[]
  readonly failures: readonly {
    readonly commit: string
    readonly at_ms: number
    readonly problems: readonly Problem[]
  }[]
}

interface Problem {
  readonly code: string
  readonly message: string
  readonly file?: string
  readonly line?: number
}

/** Prints the active revision, and the problems of a newer commit that did not pass. */
export async function policyStatus(client: Client): Promise<void> {
  const { active, stale, history, failures } = await client.get<PolicyStatus>('/api/policy/status')
  const since = history.find(revision => revision.generation === active?.generation)?.activated_at_ms
  if (active === null) say('No revision is active: everything is denied.')
  else {
    const when = since === undefined ? '' : `  since ${instant(since)}`
    say(`generation ${active.generation}${when}\n  commit ${active.commit}\n  digest ${active.digest}`)
  }
  if (stale !== null) say(`This process opens nothing: ${plain(stale)}`)
  const [failure] = failures
  if (failure === undefined || failure.at_ms < (since ?? 0)) return
  say(
    `commit ${failure.commit} did not pass at ${instant(failure.at_ms)}; ${active === null ? 'there is none before it' : 'the revision above stays'}:`,
  )
  for (const problem of failure.problems) say(`  ${lineOf(problem)}`)
}

/** `file:line: message [code]`, which editors jump to. */
function lineOf(problem: Problem): string {
  const place =
    problem.file === undefined ? '' : `${plain(problem.file)}${problem.line === undefined ? '' : `:${problem.line}`}: `
  return `${place}${plain(problem.message)} [${problem.code}]`
}

/** Checks a policy folder as the gate would. @returns exit code 0 only when it could be activated. */
export async function check(folder: string): Promise<number> {
  const { checkRepository } = await import('../policy/gate.ts')
  expectPolicies(folder)
  const problems = await checkRepository(folder, await gateOptions())
  for (const problem of problems) say(lineOf(problem))
  say(
    problems.length === 0
      ? 'The policies could be activated.'
      : `${problems.length} problem(s): the gate would refuse this.`,
  )
  return problems.length === 0 ? 0 : 1
}

/** Runs the tests in OPA and in the WASM that is enforced. @returns exit code 0 only when all pass. */
export async function test(folder: string): Promise<number> {
  const { testRepository } = await import('../policy/gate.ts')
  expectPolicies(folder)
  const { tests, coverage } = await testRepository(folder, await gateOptions())
  for (const t of tests) if (!t.passed) say(`${t.file}:${t.line}: ${t.package}.${t.name} fails`)
  const failed = tests.filter(t => !t.passed).length
  say(`${tests.length - failed} passed, ${failed} failed, coverage ${coverage.toFixed(1)} %`)
  return failed === 0 && tests.length > 0 ? 0 : 1
}

/** Compiles a policy folder and prints the digest that a revision of it would have. */
export async function build(folder: string): Promise<number> {
  const { compileFolder } = await import('../policy/gate.ts')
  const { bundleDigest } = await import('../policy/bundle.ts')
  expectPolicies(folder)
  const { bundle, tests } = await compileFolder(folder, await gateOptions())
  say(`digest ${bundleDigest(bundle)}`)
  say(`opa ${bundle.opa}, ${tests.length} tests passed`)
  return 0
}

/** A folder of something else would be answered with a list of all that it is not. */
function expectPolicies(folder: string): void {
  if (existsSync(join(folder, 'access')) || existsSync(join(folder, 'admin'))) return
  const inside = existsSync(join(folder, 'policies', 'access'))
  throw new SallyportError('not_found', `${folder} is no policy repository: it has no folder access/`, {
    remedy: `name the folder: sallyport policy check ${inside ? join(folder, 'policies') : 'FOLDER'}`,
  })
}

async function gateOptions() {
  const { findOpa } = await import('../policy/opa-binary.ts')
  const { Registry } = await import('../gateway/registry.ts')
  const { allProtocols } = await import('../protocols/all.ts')
  return {
    opa: await findOpa({ progress: line => process.stderr.write(`${line}\n`) }),
    protocols: new Registry(allProtocols).policyChecks(),
  }
}
