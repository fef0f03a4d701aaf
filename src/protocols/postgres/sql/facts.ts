import type { ActionFacts } from '../../../policy/points.ts'
import type { CatalogSnapshot, ColumnId, ColumnUse, Relation, Statement, Use } from './contract.ts'
import { classOfFunction, harmlessFunctions } from './functions.ts'
import { refuseSetting } from './settings.ts'
import { stringConstant, type Tree, unwrap } from './tree.ts'

export type Verb = 'read' | 'write' | 'ddl' | 'admin' | 'session' | 'dynamic' | 'unknown'
export const weight: Record<Verb, number> = { session: 0, read: 1, write: 2, ddl: 3, admin: 4, dynamic: 5, unknown: 6 }
const maxEntries = 5000
const maxDepth = 400

/** A statement that goes beyond a bound, or a construct that cannot be followed: it is refused, with these words. */
export class Unfollowable extends Error {}

export interface NameContext {
  readonly searchPath: readonly string[]
  readonly catalog: CatalogSnapshot | undefined
  /** Names of relations that this connection created and the catalog may not show yet. */
  readonly created: ReadonlySet<string>
}

/** Functions that change state but show nothing: they may run on a database with masked columns. */
const quietFunctions: ReadonlySet<string> = new Set(
  'nextval setval pg_current_xact_id txid_current pg_cancel_backend pg_terminate_backend'.split(' '),
)

/** Collects what one statement does. Every list is a set until `action` and `columns` sort it. */
export class Facts {
  readonly #reads = new Map<string, { schema: string; name: string }>()
  readonly #writes = new Map<string, { schema: string; name: string }>()
  readonly #functions = new Map<string, { schema: string; name: string }>()
  readonly #uses = new Map<string, ColumnId & { how: Use }>()
  readonly #relations = new Set<number>()
  readonly #open = new Set<string>()
  readonly #calls = new Set<string>()
  readonly names: NameContext
  verb: Verb = 'session'
  /** A literal was looked at: another literal in its place might mean something else. */
  literalMatters = false
  /** It was resolved by what this connection created: not for other connections. */
  contextMatters = false
  locking = false
  /** Some part of it updates or deletes every row of a relation. */
  unfiltered = false
  /** Settings that calls of set_config by their literal names make. */
  readonly sets = new Set<string>()
  refusal: string | null = null
  path: Statement['path'] = null
  unknownRelation = false
  /** The first relation in a query that does not exist, as the server would name it. */
  missing: string | null = null
  readonly created = new Set<string>()
  #depth = 0

  constructor(names: NameContext) {
    this.names = names
  }

  /** One query or expression inside of another. @throws Unfollowable */
  enter(): void {
    if (++this.#depth > maxDepth) throw new Unfollowable('it is nested too deeply')
  }

  leave(): void {
    this.#depth--
  }

  atLeast(verb: Verb): void {
    if (weight[verb] > weight[this.verb]) this.verb = verb
  }

  /** Finds a relation as the server would under the pinned search_path, and notes it as read or written. */
  relation(schema: string, name: string, how: 'read' | 'write'): Relation | undefined {
    const found = this.find(schema, name)
    const entry = { schema: found?.schema ?? schema, name }
    const target = how === 'read' ? this.#reads : this.#writes
    target.set(`${entry.schema}\0${name}`, entry)
    if (target.size > maxEntries) throw new Unfollowable('it names too many relations')
    if (found !== undefined) this.#relations.add(found.oid)
    else if (this.#temporary(schema, name)) {
      this.contextMatters = true
      // a name this connection claims to have made may since be somebody else's: the catalog is asked once more
      this.unknownRelation ||= this.names.created.has(name)
    } else if (this.names.catalog !== undefined) {
      this.unknownRelation = true
      this.open(`relation ${schema === '' ? name : `${schema}.${name}`} is not in the catalog`)
    }
    return found
  }

  /** A query names a relation that was not found. What no catalog of ours holds (TOAST, other sessions' tables) may exist. */
  misses(schema: string, name: string): void {
    if (this.names.catalog === undefined || this.#temporary(schema, name) || /^pg_(toast|temp)/.test(schema)) return
    this.missing ??= schema === '' ? name : `${schema}.${name}`
  }

  /** A temporary table, or one whose creation is not committed. It can hold nothing that masking would hide. */
  #temporary(schema: string, name: string): boolean {
    if (this.names.created.has(name)) return true
    return (schema === '' || schema.startsWith('pg_temp')) && this.names.catalog?.temporary.has(name) === true
  }

  /** Noted as written under a name that does not exist yet. */
  creates(schema: string, name: string): void {
    const resolved =
      schema === '' ? (this.names.searchPath.find(s => s !== 'pg_catalog' && !s.startsWith('pg_temp')) ?? '') : schema
    this.#writes.set(`${resolved}\0${name}`, { schema: resolved, name })
    this.created.add(name)
  }

  find(schema: string, name: string): Relation | undefined {
    const catalog = this.names.catalog
    if (catalog === undefined) return undefined
    if (schema !== '') return catalog.byName.get(`${schema}\0${name}`)
    if (!this.names.searchPath.includes('pg_catalog')) {
      const system = catalog.byName.get(`pg_catalog\0${name}`)
      if (system !== undefined) return system
    }
    for (const s of this.names.searchPath) {
      const found = catalog.byName.get(`${s}\0${name}`)
      if (found !== undefined) return found
    }
    return undefined
  }

  use(column: ColumnId, how: Use): void {
    this.#uses.set(`${column.oid}.${column.attnum}.${how}`, { oid: column.oid, attnum: column.attnum, how })
    if (this.#uses.size > maxEntries) throw new Unfollowable('it uses too many columns')
  }

  open(what: string): void {
    if (this.#open.size < 20) this.#open.add(what)
  }

  call(what: string): void {
    if (this.#calls.size < 100) this.#calls.add(what)
  }

  /** A function call by name. A function of the same name in a schema of the search path may be the one that runs. */
  calls(schema: string, name: string): void {
    const catalog = this.names.catalog
    const homes = catalog?.functions.get(name) ?? []
    const from =
      schema === '' ? homes.filter(h => this.names.searchPath.includes(h) || h.startsWith('pg_temp')) : [schema]
    if (from.length > 0 && !(from.length === 1 && from[0] === 'pg_catalog')) {
      for (const home of from)
        this.#function(home, name, catalog?.stableFunctions.has(`${home}\0${name}`) === true ? 'read' : 'write')
      return
    }
    const kind = classOfFunction(schema, name)
    if (kind === 'harmless') return
    this.#function(
      catalog === undefined && !harmlessFunctions.has(name) ? schema : 'pg_catalog',
      name,
      kind === 'other' ? 'write' : kind,
    )
  }

  movesPath(to: 'empty' | 'initial'): void {
    if (this.path !== 'empty') this.path = to
  }

  /** `set_config('name', …)` is SET by another word where the name is plain: judged as such. @returns whether it was one. */
  configures(schema: string, args: readonly Tree[]): boolean {
    const name = plainString(args[0])?.toLowerCase()
    const elsewhere =
      schema !== 'pg_catalog' && (schema !== '' || this.names.catalog?.functions.has('set_config') === true)
    if (name === undefined || args.length !== 3 || elsewhere) return false
    this.literalMatters = true
    this.sets.add(name)
    this.refusal ??= refuseSetting(name, plainString(args[1]) ?? null, false)
    if (name === 'search_path') this.movesPath('empty')
    return true
  }

  /** The same where it does not run now, or not only now: then nobody can follow it. */
  setsLater(): void {
    this.#function('pg_catalog', 'set_config', 'dynamic')
  }

  /** EXPLAIN without ANALYZE: what would be written is only read about. */
  plans(): void {
    for (const [key, entry] of this.#writes) this.#reads.set(key, entry)
    this.#writes.clear()
    this.verb = this.#functions.size === 0 && weight[this.verb] <= weight.ddl ? 'read' : this.verb
  }

  #function(schema: string, name: string, verb: Verb): void {
    const kind = classOfFunction(schema, name)
    this.atLeast(kind === 'dynamic' || kind === 'admin' ? kind : verb)
    this.#functions.set(`${schema}\0${name}`, { schema, name })
    if (this.#functions.size > maxEntries) throw new Unfollowable('it calls too many functions')
    if (!(schema === 'pg_catalog' && (kind === 'session' || quietFunctions.has(name))))
      this.call(`the function ${name}`)
  }

  /** `row.name` where name is no column of it runs name(row). A function of users by that name counts, and a dangerous one. */
  fieldCall(name: string): void {
    const kind = classOfFunction('', name)
    if (this.names.catalog?.functions.has(name) === true || (kind !== 'harmless' && kind !== 'other'))
      this.calls('', name)
  }

  /** FOR UPDATE and the like: the rows of these tables are locked, which a reader has no right to. */
  locks(oids: readonly number[]): void {
    for (const oid of oids) {
      const relation = this.names.catalog?.relations.get(oid)
      if (relation !== undefined)
        this.#writes.set(`${relation.schema}\0${relation.name}`, { schema: relation.schema, name: relation.name })
    }
    this.locking = true
  }

  /** An operator that a user made may run any code. */
  operator(schema: string, name: string): void {
    const homes = this.names.catalog?.operators.get(name) ?? []
    const from =
      schema === '' ? homes.filter(h => this.names.searchPath.includes(h)) : schema === 'pg_catalog' ? [] : [schema]
    for (const home of from) {
      this.#functions.set(`${home}\0operator ${name}`, { schema: home, name: `operator ${name}` })
      this.call(`the operator ${home}.${name}`)
    }
  }

  /** A cast to a type whose input, checks or casts are code of users. */
  type(schema: string, name: string): void {
    const catalog = this.names.catalog
    if (catalog === undefined || schema === 'pg_catalog') return
    const homes = schema === '' ? this.names.searchPath : [schema]
    if (homes.some(home => catalog.activeTypes.has(`${home}\0${name}`))) this.call(`the type ${name}`)
  }

  action(kind: string, facts: Record<string, unknown>): ActionFacts {
    return {
      facts,
      functions: sorted(this.#functions),
      kind,
      protocol: 'postgres',
      reads: sorted(this.#reads),
      verb: this.verb,
      writes: sorted(this.#writes),
    }
  }

  columns(outputs: readonly (ColumnId | null)[] | null): ColumnUse {
    return {
      outputs,
      uses: [...this.#uses.values()],
      relations: [...this.#relations],
      open: [...this.#open],
      calls: [...this.#calls],
    }
  }
}

/** A string as it is: a cast could make another one of it. */
function plainString(node: Tree | undefined): string | undefined {
  return unwrap(node)[0] === 'A_Const' ? stringConstant(node) : undefined
}

function sorted(entries: ReadonlyMap<string, { schema: string; name: string }>): { name: string; schema: string }[] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, { schema, name }]) => ({ name, schema }))
}
