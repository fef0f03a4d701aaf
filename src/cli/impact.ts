import { writeFileSync } from 'node:fs'
import { SallyportError } from '../errors.ts'
import type { ImpactReport } from '../policy/impact/impact.ts'
import type { Client } from './client.ts'
import { impactMarkdown, impactText } from './impact-page.ts'
import { jsonText, plain, say } from './output.ts'

/** Another exit code than that of a fault, so that a pipeline can tell "too many people" from "it did not run". */
const exceededExit = 3
const defaultDays = 30

export interface ImpactCommand {
  readonly repo: string
  readonly folder?: string
  readonly log: readonly string[]
  readonly days?: string
  readonly format: string
  readonly output?: string
  readonly failOn?: string
  readonly zone: string
  /** Threads that judge; as many as there are cores by default. */
  readonly threads?: number
}

/**
 * Who would be newly denied, allowed or asked by a change of the policies, from decisions that were recorded: those of
 * the server, or of exported files. @returns the exit code.
 */
export async function impact(client: () => Client, range: string, options: ImpactCommand): Promise<number> {
  const { computeImpact } = await import('../policy/impact/impact.ts')
  const { compileCandidate, rebuildCandidate } = await import('../policy/impact/revision.ts')
  const { openLocalRepository } = await import('../policy/impact/local-git.ts')
  const { exceeded, readThresholds } = await import('../policy/impact/threshold.ts')
  const { bytesOfFiles, bytesOfLines } = await import('../policy/impact/blocks.ts')
  const { gateOptions } = await import('./policy.ts')
  const render = renderer(options.format)
  const thresholds = options.failOn === undefined ? new Map() : readThresholds(options.failOn)
  const repository = await openLocalRepository(options.repo)
  const [base, head] = await commitsOf(range, repository)
  const log =
    options.log.length > 0 ? bytesOfFiles(options.log) : bytesOfLines(client().lines(pathOfExport(options.days)))
  const folder = (options.folder ?? repository.prefix).replace(/\/+$/, '')
  const gate = await gateOptions()
  const sourcesOf = async (of: Named) => {
    try {
      return await repository.sources(of.commit, folder)
    } catch (error) {
      throw inRevision(error, of, folder)
    }
  }
  const told = (of: Named) => (error: unknown) => {
    throw inRevision(error, of, folder)
  }
  const before = await rebuildCandidate(base, await sourcesOf(base), gate.opa).catch(told(base))
  const after = await compileCandidate(head, await sourcesOf(head), gate).catch(told(head))
  const { zone, threads } = options
  const report = await computeImpact({
    base: before,
    head: after,
    log,
    zone,
    onProgress: progress(),
    ...(threads === undefined ? {} : { threads }),
  })
  const failures = exceeded(report, thresholds)
  const text = render(report, failures)
  if (options.output === undefined) say(text)
  else {
    writeFileSync(options.output, `${text}\n`)
    say(`The report is in ${options.output}.`)
  }
  for (const failure of failures) process.stderr.write(`sallyport: too many: ${failure}\n`)
  return failures.length > 0 ? exceededExit : 0
}

function renderer(format: string): (report: ImpactReport, failures: readonly string[]) => string {
  if (format === 'table') return impactText
  if (format === 'markdown') return impactMarkdown
  if (format === 'json') return (report, exceeded) => jsonText({ ...report, exceeded }, 2)
  throw new SallyportError('bad_request', `'${plain(format)}' is no format of a report`, {
    remedy: 'use table, json or markdown',
  })
}

interface Named {
  readonly name: string
  readonly commit: string
}

/** `BASE..HEAD` as git writes it; with three dots from where the two parted, as a pull request is shown. */
async function commitsOf(
  range: string,
  repository: { commitOf(name: string): Promise<string>; mergeBase(a: string, b: string): Promise<string> },
): Promise<[Named, Named]> {
  const [, from, dots, to = ''] = /^(.+?)(\.{2,3})([^.].*)?$/.exec(range) ?? []
  if (from === undefined)
    throw new SallyportError('bad_request', `'${plain(range)}' names no two revisions`, {
      remedy: 'write BASE..HEAD, for example origin/main..HEAD',
    })
  const head = { name: to || 'HEAD', commit: await repository.commitOf(to || 'HEAD') }
  if (dots === '...') return [{ name: from, commit: await repository.mergeBase(from, head.commit) }, head]
  return [{ name: from, commit: await repository.commitOf(from) }, head]
}

/** Which of the two revisions was refused, and where the policies may lie instead. */
function inRevision(error: unknown, of: Named, folder: string): unknown {
  if (!(error instanceof Error)) return error
  const where = `${of.name} (${of.commit.slice(0, 12)})`
  if (error instanceof SallyportError)
    return new SallyportError(error.code, `${where}: ${error.message}`, { remedy: error.remedy, facts: error.facts })
  const inside =
    folder === '' ? 'name their folder with --folder, for example --folder policies' : 'look at --folder again'
  return new SallyportError('bad_request', `${where} holds no policies that can be read: ${error.message}`, {
    remedy: inside,
    cause: error,
  })
}

function pathOfExport(days: string | undefined): string {
  const count = days === undefined ? defaultDays : Number(days)
  if (!Number.isInteger(count) || count < 1 || count > 3650)
    throw new SallyportError('bad_request', `'${plain(days ?? '')}' is no number of days`, {
      remedy: 'write --days 30',
    })
  return `/api/decisions/export?from_ms=${Date.now() - count * 86_400_000}`
}

/** One line that grows, for a person who waits; nothing where nobody watches. */
function progress(): (blocks: number) => void {
  if (!process.stderr.isTTY) return () => {}
  return blocks => process.stderr.write(`\r${(blocks / 2).toFixed(1)} MiB of the log judged `)
}
