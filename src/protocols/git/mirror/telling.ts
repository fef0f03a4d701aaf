import { factBounds, lists, type UpdateFacts } from '../facts.ts'
import { tooLarge } from './limits.ts'

/** Of all updates of one push together. */
const mostText = 64 << 20
/** A decision takes so much text in all: each list has its share, and what has no room is counted and not told. */
const shares = { commits: 0.4, lost: 0.08, paths: 0.42, secrets: 0.08 } as const

/** What of a list is told. */
export function told<X>(name: keyof typeof shares, list: readonly X[]): X[] {
  let left = factBounds.text * shares[name]
  const room = list.findIndex(each => (left -= JSON.stringify(each).length + 1) < 0)
  return list.slice(0, Math.min(room < 0 ? list.length : room, factBounds[name]))
}

/** The lists that are not whole. */
export function cutOf(
  already: UpdateFacts['cut'],
  also: Partial<Record<(typeof lists)[number], boolean>>,
): UpdateFacts['cut'] {
  return lists.filter(list => already.includes(list) || also[list] === true)
}

/** What is told of one push: its facts are held until all of its updates are judged. */
export class Telling {
  #text = 0

  /** @throws PushFault where it is more than is held. */
  add({ lost, secrets, commits, paths }: UpdateFacts): undefined {
    this.#text += textOf(lost) + textOf(secrets) + textOf(commits) + textOf(paths)
    if (this.#text > mostText) throw tooLarge('there is more to tell of the refs of the push than is told at once')
  }
}

const textOf = (list: readonly unknown[]): number => (list.length === 0 ? 2 : JSON.stringify(list).length)
