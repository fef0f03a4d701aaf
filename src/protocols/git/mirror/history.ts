import { type Git, Unreadable } from './git.ts'

const isId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/
/** Commits that are held of one walk. */
const mostCommits = 20_000

/** What one commit reaches of a walk. */
export interface Reached {
  /** Newest first, as many as were asked for. */
  readonly ids: readonly string[]
  readonly total: number
  /** Commits where it leaves the walk: their history is what was left out. */
  readonly edges: ReadonlySet<string>
}

/** Commits that some tips reach and others do not, with their parents: walked by git once, for all who ask about parts of it. */
export class Walk {
  /** In the order that git tells: newest first, none before its children. */
  readonly #place = new Map<string, number>()
  readonly #ids: string[] = []
  readonly #parents: (readonly string[])[] = []

  /** @returns undefined where it is more than is held. */
  static async of(git: Git, tips: Iterable<string>, without: Iterable<string>): Promise<Walk | undefined> {
    const input = `${[...new Set(tips), ...[...new Set(without)].map(id => `^${id}`)].join('\n')}\n`
    const args = ['rev-list', '--topo-order', '--parents', `--max-count=${mostCommits + 1}`, '--stdin']
    const lines = (await git.text(args, { input, max_output: 64 << 20 })).split('\n').slice(0, -1)
    if (lines.length > mostCommits) return undefined
    const walk = new Walk()
    for (const line of lines) {
      const [id = '', ...parents] = line.split(' ')
      if (!isId.test(id)) throw new Unreadable('git rev-list says what is not understood')
      walk.#place.set(id, walk.#ids.push(id) - 1)
      walk.#parents.push(parents)
    }
    return walk
  }

  has(id: string): boolean {
    return this.#place.has(id)
  }

  from(tip: string, most: number): Reached {
    const seen = new Set<number>()
    const edges = new Set<string>()
    const left = [tip]
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      const place = this.#place.get(id)
      if (place === undefined) edges.add(id)
      else if (!seen.has(place)) {
        seen.add(place)
        left.push(...this.#parents[place]!)
      }
    }
    const newest = [...seen].sort((a, b) => a - b).slice(0, most)
    return { ids: newest.map(place => this.#ids[place]!), total: seen.size, edges }
  }
}

/** What comes with an update: what its new commit reaches and its old one does not. */
export interface Comes {
  readonly ids: readonly string[]
  readonly total: number
  /** The new one descends from the old one. */
  readonly descends: boolean
  /** The nearest commit that both reach; null where there is none, undefined where that is not known yet. */
  readonly base: string | null | undefined
}

/** Two commits: null where everything that the new one reaches is new. */
export interface Step {
  readonly from: string | null
  readonly to: string
}

/** What comes with each of many updates, out of few walks. */
export class History {
  readonly #git: Git
  readonly #most: number
  readonly #walks = new Map<string | null, { readonly walk: Walk | undefined; readonly steps: number }>()

  private constructor(git: Git, most: number) {
    this.#git = git
    this.#most = most
  }

  /** One walk for all steps from one commit where there are several, and one for all the others. */
  static async of(git: Git, steps: readonly Step[], most: number): Promise<History> {
    const history = new History(git, most)
    const tos = new Map<string | null, Set<string>>()
    for (const { from, to } of steps) tos.set(from, (tos.get(from) ?? new Set()).add(to))
    const single: [string, string][] = []
    for (const [from, all] of tos) {
      if (from !== null && all.size === 1) single.push([from, [...all][0]!])
      else history.#walks.set(from, { walk: await Walk.of(git, all, from === null ? [] : [from]), steps: 1 })
    }
    if (single.length === 0) return history
    const [froms, ends] = [single.map(each => each[0]), single.map(each => each[1])]
    const walk = await Walk.of(git, ends, froms)
    for (const from of froms) history.#walks.set(from, { walk, steps: single.length })
    return history
  }

  async comes(step: Step): Promise<Comes> {
    const { from, to } = step
    const known = this.#walks.get(from)
    const found = known?.walk?.from(to, this.#most)
    // Exact, unless it meets what another one had before.
    if (found !== undefined && (known!.steps === 1 || [...found.edges].every(id => id === from)))
      return told(found, from)
    const own = known?.steps === 1 ? undefined : await Walk.of(this.#git, [to], from === null ? [] : [from])
    return own === undefined ? this.#counted(step) : told(own.from(to, this.#most), from)
  }

  /** Of a history that is longer than what is held. */
  async #counted({ from, to }: Step): Promise<Comes> {
    const listed = await countOf(this.#git, to, from === null ? [] : [from], this.#most)
    return { ...listed, descends: from !== null && (await isAncestor(this.#git, from, to)), base: undefined }
  }
}

function told({ ids, total, edges }: Reached, from: string | null): Comes {
  const descends = from !== null && edges.has(from)
  const base = descends ? from : edges.size === 0 ? null : edges.size === 1 ? [...edges][0]! : undefined
  return { ids, total, descends, base }
}

/** The newest of what one commit reaches and others do not, and how many there are. */
export async function countOf(git: Git, of: string, without: readonly string[], most: number) {
  const input = `${[of, ...without.map(id => `^${id}`)].join('\n')}\n`
  // one more than is told, to see whether there are more; then they are counted
  const listed = await git.text(['rev-list', '--topo-order', `--max-count=${most + 1}`, '--stdin'], { input })
  const ids = listed.split('\n').filter(id => isId.test(id))
  if (ids.length <= most) return { ids, total: ids.length }
  const total = Number(await git.text(['rev-list', '--count', '--stdin'], { input }))
  return { ids: ids.slice(0, most), total }
}

async function isAncestor(git: Git, from: string, to: string): Promise<boolean> {
  const { status, cut } = await git.try(['merge-base', '--is-ancestor', from, to])
  if (cut === undefined && (status === 0 || status === 1)) return status === 0
  throw new Unreadable('ancestry cannot be found out')
}
