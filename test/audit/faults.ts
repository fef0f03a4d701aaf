import { appendFile } from 'node:fs/promises'
import { CheckpointCopy, type CopyLine } from '../../src/audit/copy.ts'
import { createAuditWriter } from '../../src/audit/writer.ts'
import type { Database } from '../../src/db/database.ts'

/**
 * What goes wrong at one operation: it is refused and not done; it is done and its answer is lost; it is done by half (of a
 * write to the copy); the process dies before or behind it.
 */
export const faults = ['refused', 'answer lost', 'half', 'killed before', 'killed behind'] as const
export type Fault = (typeof faults)[number]

export class Injected extends Error {
  constructor(fault: Fault, at: string) {
    super(`${fault}: ${at}`)
  }
}

/** Counts operations and lets the n-th go wrong. */
export class Injector {
  readonly fault: Fault
  readonly n: number
  count = 0
  /** What the n-th was; null while it was not reached. */
  hit: string | null = null

  constructor(fault: Fault, n: number) {
    this.fault = fault
    this.n = n
  }

  async around<X>(what: string, run: () => Promise<X>, half: () => Promise<unknown> = run): Promise<X> {
    if (++this.count !== this.n) return run()
    this.hit = what
    if (this.fault === 'killed before') return die()
    if (this.fault !== 'refused') await (this.fault === 'half' ? half() : run())
    if (this.fault === 'killed behind') return die()
    throw new Injected(this.fault, what)
  }
}

function die(): Promise<never> {
  process.kill(process.pid, 'SIGKILL')
  return new Promise(() => {})
}

type Tag = (strings: TemplateStringsArray, ...values: unknown[]) => Promise<unknown>
const isTemplate = (value: unknown): value is TemplateStringsArray => Array.isArray(value) && 'raw' in value
const named = (strings: TemplateStringsArray) => strings.join('?').trim().replace(/\s+/g, ' ').slice(0, 60)

/** The driver, or a transaction of it, whose n-th query goes wrong. Fragments that stand inside a query are none of their own. */
function faultySql<T extends object>(sql: T, injector: Injector): T {
  return new Proxy(sql, {
    apply(target, self, args: unknown[]) {
      const query = Reflect.apply(target as unknown as Tag, self, args)
      const [strings] = args
      if (!isTemplate(strings) || !/^\s*(select|insert|update|with|delete)/i.test(strings[0] ?? '')) return query
      return injector.around(named(strings), async () => query)
    },
    get(target, name) {
      const value = Reflect.get(target, name) as unknown
      if (name !== 'begin') return typeof value === 'function' ? value.bind(target) : value
      return (...args: unknown[]) => {
        const run = args.pop() as (tx: object) => Promise<unknown>
        const begin = value as (...args: unknown[]) => Promise<unknown>
        return injector.around('commit', () =>
          begin.call(target, ...args, (tx: object) => run(faultySql(tx, injector))),
        )
      }
    },
  })
}

export function faultyDatabase(database: Database, injector: Injector): Database {
  const db = new Proxy(database.db, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown
      if (name !== 'transaction') return typeof value === 'function' ? value.bind(target) : value
      return (run: (tx: object) => Promise<unknown>) =>
        injector.around('commit of events', () =>
          database.db.transaction(tx =>
            run(
              new Proxy(tx, {
                get(inner, member) {
                  const of = Reflect.get(inner, member) as unknown
                  if (member !== 'execute') return typeof of === 'function' ? of.bind(inner) : of
                  return (query: never) => injector.around('query of the writer', async () => inner.execute(query))
                },
              }),
            ),
          ),
        )
    },
  })
  return { db, sql: faultySql(database.sql, injector), close: () => database.close() }
}

export class FaultyCopy extends CheckpointCopy {
  readonly #injector: Injector

  constructor(path: string, injector: Injector) {
    super(path)
    this.#injector = injector
  }

  override latest(): Promise<CopyLine | null> {
    return this.#injector.around('reading the copy', () => super.latest())
  }

  override append(lines: readonly CopyLine[]): Promise<void> {
    const half = () => appendFile(this.path, JSON.stringify(lines[0] ?? null).slice(0, 40))
    return this.#injector.around('writing the copy', () => super.append(lines), half)
  }
}

/** Records two batches in transactions of their own. @returns the numbers whose transaction was said to be committed. */
export async function appendTwice(database: Database, process_id: string, first: number): Promise<number[]> {
  const writer = createAuditWriter({ database, process_id })
  const said: number[] = []
  for (const from of [first, first + 3]) {
    try {
      await database.db.transaction(tx =>
        writer.recordAll(
          tx,
          [0, 1, 2].map(n => ({ type: 'vote.cast', body: { number: from + n } }) as const),
        ),
      )
      said.push(from, from + 1, from + 2)
    } catch {
      // it was not said to be committed; it may be all the same, where the answer was lost
    }
  }
  return said
}
