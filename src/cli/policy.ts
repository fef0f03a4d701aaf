import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, jsonText, plain, say, table } from './output.ts'

/** A process beats its heart each second. */
const silentMs = 15_000

interface PolicyStatus {
  readonly active: { readonly generation: number; readonly commit: string; readonly digest: string } | null
  readonly stale: string | null
  readonly tracked: {
    readonly ref: string
    readonly head: string | null
    readonly looked_at_ms: number | null
    readonly problem: string | null
  }
  readonly held: readonly {
    readonly kind: string
    readonly commit: string | null
    readonly generation: number | null
    readonly by: string | null
    readonly reason: string | null
    readonly ends_at_ms: number | null
  }[]
  readonly processes: readonly {
    readonly id: string
    readonly role: string
    readonly host: string
    readonly generation: number | null
    readonly ready: string
    readonly silent_ms: number
  }[]
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
  const { active, stale, tracked, held, processes, history, failures } =
    await client.get<PolicyStatus>('/api/policy/status')
  const since = history.find(revision => revision.generation === active?.generation)?.activated_at_ms
  if (active === null) say('No revision is active: everything is denied.')
  else {
    const when = since === undefined ? '' : `  since ${instant(since)}`
    say(`generation ${active.generation}${when}\n  commit ${active.commit}\n  digest ${active.digest}`)
  }
  if (stale !== null) say(`This process opens nothing: ${plain(stale)}`)
  for (const hold of held) {
    const what = hold.kind === 'recovery' ? `RECOVERY: generation ${hold.generation}` : `${hold.kind}: ${hold.commit}`
    const until = hold.ends_at_ms === null ? 'until `sallyport policy unpin`' : `until ${instant(hold.ends_at_ms)}`
    say(`${what}, by ${plain(hold.by ?? 'nobody')} ${until}: ${plain(hold.reason ?? '')}`)
  }
  const looked = tracked.looked_at_ms === null ? 'never looked at' : `looked at ${instant(tracked.looked_at_ms)}`
  say(`${plain(tracked.ref)} is at ${tracked.head ?? 'an unknown commit'}, ${looked}`)
  if (tracked.problem !== null) say(`The repository cannot be read: ${plain(tracked.problem)}`)
  table(
    ['process', 'role', 'host', 'runs', 'state'],
    processes.map(p => [
      p.id,
      p.role,
      p.host,
      p.generation === null ? 'no revision' : `generation ${p.generation}`,
      p.silent_ms > silentMs ? `silent for ${Math.round(p.silent_ms / 1000)} s` : p.ready,
    ]),
  )
  const [failure] = failures
  if (failure === undefined || failure.at_ms < (since ?? 0)) return
  say(
    `commit ${failure.commit} did not pass at ${instant(failure.at_ms)}; ${active === null ? 'there is none before it' : 'the revision above stays'}:`,
  )
  for (const problem of failure.problems) say(`  ${lineOf(problem)}`)
}

/** `file:line: message [code]`, which editors jump to. @param folder where the files lie, seen from here. */
function lineOf(problem: Problem, folder = '.'): string {
  const place =
    problem.file === undefined
      ? ''
      : `${plain(join(folder, problem.file))}${problem.line === undefined ? '' : `:${problem.line}`}: `
  return `${place}${plain(problem.message)} [${problem.code}]`
}

export interface FolderOptions {
  /** One JSON object instead of lines. */
  readonly json?: boolean
  /** The deployment's configuration, for the names of its secrets. */
  readonly config?: string
}

/** Checks a policy folder as the gate would. @returns exit code 0 only when it could be activated. */
export async function check(folder: string, options: FolderOptions): Promise<number> {
  const { checkRepository } = await import('../policy/gate.ts')
  expectPolicies(folder)
  const { problems, warnings } = await checkRepository(folder, await gateOptions(options))
  const ok = problems.length === 0
  if (options.json === true) return saidJson({ ok, problems, warnings })
  for (const problem of problems) say(lineOf(problem, folder))
  for (const warning of warnings) say(`${lineOf(warning, folder)} (warning)`)
  say(ok ? 'The policies could be activated.' : `${problems.length} problem(s): the gate would refuse this.`)
  return ok ? 0 : 1
}

/** Runs the tests in OPA and in the WASM that is enforced. @returns exit code 0 only when all pass and run enough. */
export async function test(folder: string, options: FolderOptions): Promise<number> {
  const { testRepository } = await import('../policy/gate.ts')
  expectPolicies(folder)
  const { tests, coverage, problems } = await testRepository(folder, await gateOptions(options))
  const failed = tests.filter(t => !t.passed)
  const ok = failed.length === 0 && tests.length > 0 && problems.length === 0
  if (options.json === true) return saidJson({ ok, coverage, tests, problems })
  for (const { file, line, name } of failed)
    say(lineOf({ code: 'test', file, line, message: `the test ${name} fails` }, folder))
  for (const problem of problems) say(lineOf(problem, folder))
  say(`${tests.length - failed.length} passed, ${failed.length} failed, coverage ${coverage.toFixed(1)} %`)
  return ok ? 0 : 1
}

/** Compiles a policy folder and prints the digest that a revision of it would have. */
export async function build(folder: string, options: FolderOptions): Promise<number> {
  const { compileFolder } = await import('../policy/gate.ts')
  const { bundleDigest } = await import('../policy/bundle.ts')
  expectPolicies(folder)
  const { bundle, tests } = await compileFolder(folder, await gateOptions(options))
  const digest = bundleDigest(bundle)
  if (options.json === true) return saidJson({ ok: true, digest, opa: bundle.opa, tests: tests.length })
  say(`digest ${digest}`)
  say(`opa ${bundle.opa}, ${tests.length} tests passed`)
  return 0
}

function saidJson(value: { readonly ok: boolean; readonly [member: string]: unknown }): number {
  say(jsonText(value))
  return value.ok ? 0 : 1
}

/** A folder of something else would be answered with a list of all that it is not. */
function expectPolicies(folder: string): void {
  if (existsSync(join(folder, 'access')) || existsSync(join(folder, 'admin'))) return
  const inside = existsSync(join(folder, 'policies', 'access'))
  throw new SallyportError('not_found', `${folder} is no policy repository: it has no folder access/`, {
    remedy: `name the folder: sallyport policy check ${inside ? join(folder, 'policies') : 'FOLDER'}`,
  })
}

/** How the gate compiles on this machine. */
export async function gateOptions({ config }: FolderOptions = {}) {
  const { loadConfig } = await import('../load-config.ts')
  const { findOpa } = await import('../policy/opa-binary.ts')
  const { Registry } = await import('../gateway/registry.ts')
  const { allProtocols } = await import('../protocols/all.ts')
  return {
    opa: await findOpa({ progress: line => process.stderr.write(`${line}\n`) }),
    protocols: new Registry(allProtocols).policyChecks(),
    secrets: config === undefined ? undefined : Object.keys(loadConfig(config).secrets),
  }
}
