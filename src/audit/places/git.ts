import type { CopyLine } from '../copy.ts'
import type { Place, Publication } from './place.ts'

/** How git runs; the room of policy knows how to do it safely, and plugs it in. */
export interface GitRunner {
  /** In our bare repository. */
  git(args: readonly string[], more?: { input?: string; env?: Readonly<Record<string, string>> }): Promise<string>
  /** The same with the remote's credentials. `remote` in the arguments stands for its address. */
  network(args: (remote: string) => readonly string[]): Promise<string>
}

export interface GitPlaceOptions {
  readonly name: string
  readonly branch: string
  /** Folder in the repository; its root where it is left out. */
  readonly folder?: string | undefined
  readonly every_ms: number
  readonly runner: GitRunner
  readonly now: () => number
}

const tip = 'refs/sallyport/published'
const noteFile = 'checkpoint'
const statementsFile = 'statements.jsonl'

/**
 * A branch of a git repository: each publication is a commit on top of the one before, with the files `checkpoint` (the
 * note) and `statements.jsonl`. Never forced: whoever rewrites the branch keeps us from publishing, which is an alarm.
 */
export function gitPlace({ name, branch, folder, every_ms, runner, now }: GitPlaceOptions): Place {
  const head = `refs/heads/${branch}`
  const below = (file: string) => (folder === undefined ? file : `${folder.replace(/\/+$/, '')}/${file}`)

  /** The commit that the branch is at, fetched; undefined where the branch is not there yet. */
  async function fetchTip(): Promise<string | undefined> {
    const found = await runner.network(remote => ['ls-remote', remote, head])
    const commit = /^([0-9a-f]{40,64})\t/.exec(found)?.[1]
    if (commit === undefined) return undefined
    await runner.network(remote => [
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--depth=1',
      remote,
      `+${head}:${tip}`,
    ])
    return (await runner.git(['rev-parse', '--verify', `${tip}^{commit}`])).trim()
  }

  const fileAt = (commit: string, file: string) =>
    runner.git(['cat-file', 'blob', `${commit}:${below(file)}`]).catch(() => undefined)

  async function commit(parent: string | undefined, publication: Publication): Promise<string> {
    const index = { GIT_INDEX_FILE: 'sallyport-index' } // below the repository, made anew each time
    await runner.git(parent === undefined ? ['read-tree', '--empty'] : ['read-tree', parent], { env: index })
    const files: [string, string][] = [[noteFile, publication.note]]
    if (publication.statements.length > 0) files.push([statementsFile, linesText(publication.statements)])
    for (const [file, text] of files) {
      const blob = (await runner.git(['hash-object', '-w', '--stdin'], { input: text })).trim()
      await runner.git(['update-index', '--add', '--cacheinfo', `100644,${blob},${below(file)}`], { env: index })
    }
    const tree = (await runner.git(['write-tree'], { env: index })).trim()
    const at = `${Math.floor(now() / 1000)} +0000`
    const who = (what: string) => ({
      [`GIT_${what}_NAME`]: 'Sallyport',
      [`GIT_${what}_EMAIL`]: 'sallyport@localhost',
      [`GIT_${what}_DATE`]: at,
    })
    const message = `${publication.origin}: ${publication.size} entries\n`
    const args = ['commit-tree', tree, ...(parent === undefined ? [] : ['-p', parent])]
    return (await runner.git(args, { input: message, env: { ...who('AUTHOR'), ...who('COMMITTER') } })).trim()
  }

  return {
    name,
    kind: 'git',
    every_ms,
    async latest() {
      const at = await fetchTip()
      const note = at && (await fileAt(at, noteFile))
      if (at === undefined || note === undefined || note === '') return null
      return { place: name, note, statements: parseLines((await fileAt(at, statementsFile)) ?? '') }
    },
    async publish(publication) {
      const made = await commit(await fetchTip(), publication)
      await runner.network(remote => ['push', '--quiet', remote, `${made}:${head}`])
      return undefined
    },
  }
}

export const linesText = (lines: readonly CopyLine[]): string =>
  lines.map(({ kind, note }) => `${JSON.stringify({ kind, note })}\n`).join('')

/** What is no statement is passed over: whoever put it there could as well have left it out. */
export function parseLines(text: string): CopyLine[] {
  return text.split('\n').flatMap((line): CopyLine[] => {
    try {
      const { kind, note } = JSON.parse(line) as CopyLine
      return (kind === 'break' || kind === 'handover') && typeof note === 'string' ? [{ kind, note }] : []
    } catch {
      return []
    }
  })
}
