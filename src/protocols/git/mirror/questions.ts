import { Together } from '../../../together.ts'
import { PushFault } from '../push.ts'
import { type Git, Unreadable, whyGit } from './git.ts'
import { type Described, describe, readObjects } from './objects.ts'
import { type Numbers, type PathsOf, readNumbers, readRaw } from './paths.ts'

/** Bytes of paths that differ, of one run and of all that is held at once. */
export const diffBytes = 64 << 20
const diffTree = ['diff-tree', '-r', '-z', '--no-renames', '--full-index', '--no-ext-diff', '--no-textconv', '--stdin']
/** Git knows these without their being there. */
const emptyTree: Readonly<Record<number, string>> = {
  40: '4b825dc642cb6eb9a060e54bf8d69288fbee4904',
  64: '6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321',
}

/** Two commits; null is one that holds nothing. */
export interface Sides {
  readonly base: string | null
  readonly to: string
}

/** What is asked of git about the objects of a push, in few runs for all of its updates. */
export class Questions {
  readonly #git: Git
  readonly #known: Together<readonly string[], ReadonlyMap<string, Described>>
  readonly #peeled: Together<string, string | null>
  readonly #objects: Together<Objects, readonly (Buffer | undefined)[]>
  readonly #pairs: Together<string, PathsOf>
  readonly #numbers: Together<string, Numbers>
  readonly #commits: Together<readonly string[], readonly PathsOf[]>

  constructor(git: Git) {
    this.#git = git
    const of = (most: number) => ({ most, again: 'halves', signal: git.place.signal }) as const
    this.#known = new Together(all => this.#describe(all), of(256))
    this.#peeled = new Together(all => this.#peel(all), of(10_000))
    this.#objects = new Together(all => this.#read(all), of(256))
    this.#pairs = new Together(async all => inOrder(readRaw(await this.#diff(['--raw'], all)), all), of(256))
    this.#numbers = new Together(
      async all => inOrder(readNumbers(await this.#diff(['--numstat'], all)), all).map(each => each.numbers),
      of(256),
    )
    this.#commits = new Together(all => this.#ofCommits(all), of(64))
  }

  /** What is known of these; the answer may tell of others too. */
  describe(ids: Iterable<string>): Promise<ReadonlyMap<string, Described>> {
    return this.#known.ask([...ids])
  }

  /** The commit that a tag is of. */
  commitOf(id: string): Promise<string | null> {
    return this.#peeled.ask(`${id}^{commit}`)
  }

  /** In the order asked; what is not here is `undefined`. `most`: bytes of all of them. */
  read(ids: readonly string[], most: number): Promise<readonly (Buffer | undefined)[]> {
    return ids.length === 0 ? Promise.resolve([]) : this.#objects.ask({ ids, most })
  }

  async paths(sides: Sides): Promise<PathsOf> {
    return this.#pairs.ask(await this.#trees(sides))
  }

  /** @throws where not all files of both sides are here */
  async numbers(sides: Sides): Promise<Numbers> {
    return this.#numbers.ask(await this.#trees(sides))
  }

  /** Of each commit what differs from its parents; of a merge, from all of them. */
  pathsOf(commits: readonly string[]): Promise<readonly PathsOf[]> {
    return commits.length === 0 ? Promise.resolve([]) : this.#commits.ask(commits)
  }

  async #trees({ base, to }: Sides): Promise<string> {
    const tree = async (id: string | null) =>
      id === null ? emptyTree[to.length] : await this.#peeled.ask(`${id}^{tree}`)
    const both = await Promise.all([tree(base), tree(to)])
    if (both.some(each => each === null)) throw new Unreadable('the tree of a commit is not here')
    return both.join(' ')
  }

  async #describe(all: readonly (readonly string[])[]): Promise<readonly ReadonlyMap<string, Described>[]> {
    const known = await describe(this.#git, new Set(all.flat()))
    return all.map(() => known)
  }

  async #peel(names: readonly string[]): Promise<readonly (string | null)[]> {
    const args = ['cat-file', '--batch-check=%(objectname)', '--buffer']
    const lines = (await this.#git.text(args, { input: `${names.join('\n')}\n` })).split('\n').slice(0, -1)
    if (lines.length !== names.length) throw new Unreadable('an answer of git cat-file ends early')
    return lines.map(line => (/^[0-9a-f]{40,64}$/.test(line) ? line : null))
  }

  /** Each object once, whoever asked for it. */
  async #read(all: readonly Objects[]): Promise<readonly (readonly (Buffer | undefined)[])[]> {
    const ids = [...new Set(all.flatMap(each => each.ids))]
    const read = await readObjects(this.#git, ids, Math.max(...all.map(each => each.most)))
    const found = new Map(ids.map((id, i) => [id, read[i]]))
    return all.map(each => each.ids.map(id => found.get(id)))
  }

  async #ofCommits(all: readonly (readonly string[])[]): Promise<readonly (readonly PathsOf[])[]> {
    const ids = [...new Set(all.flat())]
    // A commit that changes nothing is not named.
    const found = new Map(readRaw(await this.#diff(['--raw', '-c', '--root'], ids)).map(each => [each.of, each]))
    return all.map(each => each.flatMap(id => found.get(id) ?? []))
  }

  async #diff(args: readonly string[], lines: readonly string[]): Promise<Buffer> {
    const ended = await this.#git.try([...diffTree, ...args], { input: `${lines.join('\n')}\n`, max_output: diffBytes })
    if (ended.cut === 'output')
      throw new PushFault('too_large', 'the push changes more paths than can be looked at', 'push in smaller parts')
    if (ended.status !== 0 || ended.cut !== undefined) throw new Unreadable(`git diff-tree: ${whyGit(ended)}`)
    return ended.stdout
  }
}

interface Objects {
  readonly ids: readonly string[]
  readonly most: number
}

/** What git cannot read it leaves out without a word. */
function inOrder<X extends { readonly of: string }>(read: readonly X[], asked: readonly string[]): readonly X[] {
  if (read.length !== asked.length || read.some((each, i) => each.of !== asked[i]))
    throw new Unreadable('git diff-tree leaves out what it was asked about')
  return read
}
