import { Together } from '../../../together.ts'
import { type Git, Unreadable } from './git.ts'

const isId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/
/** Commits that are held of one walk. */
const mostCommits = 20_000
/** Ids on one command line. */
const mostArguments = 500

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
  /** Where the new one leaves what the old one reaches, if that is one commit. */
  readonly edge: string | null
}

/** Two commits: null where everything that the new one reaches is new. */
export interface Step {
  readonly from: string | null
  readonly to: string
}

/**
 * What comes with each of many updates, out of few walks. Git walks by the times that commits tell: where these are wrong, more
 * comes than is new, and never less.
 */
export class History {
  readonly #git: Git
  readonly #most: number
  readonly #bases: Together<Leaving, string | null>
  readonly #walks = new Map<string | null, { readonly walk: Walk | undefined; readonly steps: number }>()

  private constructor(git: Git, most: number) {
    this.#git = git
    this.#most = most
    this.#bases = new Together(all => this.#base(all), { most: 256, again: 'halves', signal: git.place.signal })
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

  /** The nearest commit that both reach: of many that leave the old one at the same commit it is asked once. */
  base({ from, to }: Step, { total, edge }: Comes): Promise<string | null> | string | null {
    if (from === null) return null
    // It is not in the walk: the old one reaches it.
    return total === 0 ? to : this.#bases.ask({ from, to, edge })
  }

  async #base(all: readonly Leaving[]): Promise<readonly (string | null)[]> {
    const groups = new Map<string, Leaving[]>()
    for (const each of all) {
      const key = `${each.from} ${each.edge ?? each.to}`
      groups.set(key, [...(groups.get(key) ?? []), each])
    }
    const found = new Map<Leaving, string | null>()
    for (const group of groups.values()) {
      const { from, edge } = group[0]!
      // All that any of them shares with the old one, its edge reaches, and each of them reaches its edge.
      const tos = [...new Set(group.map(each => each.to))].slice(0, mostArguments)
      const together = edge !== null && tos.length > 1 && (await this.#nearest(from, tos)).join(' ') === edge
      for (const each of group)
        found.set(each, together && tos.includes(each.to) ? edge : ((await this.#nearest(from, [each.to]))[0] ?? null))
    }
    return all.map(each => found.get(each)!)
  }

  async #nearest(from: string, tos: readonly string[]): Promise<string[]> {
    const { stdout } = await this.#git.try(['merge-base', '--all', from, ...tos])
    return stdout
      .toString('latin1')
      .split('\n')
      .filter(id => isId.test(id))
  }

  /** Of a history that is longer than what is held. */
  async #counted({ from, to }: Step): Promise<Comes> {
    const listed = await countOf(this.#git, to, from === null ? [] : [from], this.#most)
    return { ...listed, descends: from !== null && (await isAncestor(this.#git, from, to)), edge: null }
  }
}

interface Leaving {
  readonly from: string
  readonly to: string
  readonly edge: string | null
}

function told({ ids, total, edges }: Reached, from: string | null): Comes {
  const descends = from !== null && edges.has(from)
  return { ids, total, descends, edge: edges.size === 1 ? [...edges][0]! : null }
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
