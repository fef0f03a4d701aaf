import type { ActionFacts, MaskRule } from '../../../policy/points.ts'
import type { RowWriter } from './row-writer.ts'

/**
 * What the wire side knows of SQL: text in, facts and refusals out. Everything here is synchronous except the catalog's
 * loading, and nothing here throws on what a client sends: a refusal is a value.
 *
 * Life of a statement: `analyzer.analyze(sql)` → for each statement: `statement.refusal` (whatever policy says), then
 * `gate.judge(statement.action)`, then `plan.judge(statement)` → forward → `plan.rows(judgement, fields, formats)` →
 * `rows.rewrite(dataRow)`.
 */
export interface Analyzer {
  /** Bounded: length, depth, number of statements. `sql` is valid UTF-8 without NUL (the wire refuses the rest). `created`: `ConnectionNames.created`. */
  analyze(sql: string, created?: ReadonlySet<string>): Analysis
}

export type Analysis =
  | {
      readonly ok: true
      /** Empty for an empty query string. Shared and frozen: the same objects come back for the same template. */
      readonly statements: readonly Statement[]
      /** The text of each statement as sent; the same length as `statements`. */
      readonly texts: readonly string[]
      /** Names a relation that the catalog does not know: refresh it once (`Catalog.refresh`), then analyze again. */
      readonly unknownRelation: boolean
    }
  | { readonly ok: false; readonly sqlstate: string; readonly message: string }

export interface Statement {
  readonly action: ActionFacts
  /** Refused whatever policy says: pinned settings, statements this build cannot follow. Lower case, with a remedy. */
  readonly refusal: string | null
  readonly control: Control
  /** It may change what names mean: call `Catalog.stale()` when it has completed. */
  readonly changesCatalog: boolean
  /** Relations it creates; `ConnectionNames.resolve` remembers them for the connection. */
  readonly creates: readonly string[]
  /** The text holds a password or the like: only `withoutLiterals(text)` may be recorded. */
  readonly secret: boolean
  /** A relation that it queries and that does not exist: the server would say so whatever else it holds. */
  readonly missing: string | null
  /** It may change where names are looked up: to pg_catalog only, or back to where the connection began. */
  readonly path: 'empty' | 'initial' | null
  /** What it does with columns; only a MaskPlan reads it. */
  readonly columns: ColumnUse
}

/** What the wire has to know to follow the connection's state. */
export type Control =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'transaction'
      readonly verb: 'begin' | 'commit' | 'rollback' | 'savepoint' | 'release' | 'rollback_to' | 'two_phase'
    }
  | { readonly kind: 'copy'; readonly direction: 'in' | 'out' }
  /** SQL PREPARE. The name lives in the same space as the names of Parse messages. */
  | { readonly kind: 'prepare'; readonly name: string; readonly inner: Statement }
  /** `verb`: what its arguments do by themselves. */
  | { readonly kind: 'execute'; readonly name: string; readonly verb: ActionFacts['verb'] }
  | { readonly kind: 'deallocate'; readonly name: string | null }
  | { readonly kind: 'declare'; readonly name: string; readonly inner: Statement; readonly held: boolean }
  | { readonly kind: 'fetch'; readonly name: string }
  | { readonly kind: 'close'; readonly name: string | null }
  | { readonly kind: 'discard'; readonly all: boolean }

/** What messages defined on a connection. */
export interface MessageNames {
  /** What Parse defined under that name; undefined: nothing. */
  statements(name: string): readonly Statement[] | undefined
  /** Whether Bind made a portal of that name. */
  portal(name: string): boolean
}

/**
 * Names of one connection. SQL PREPARE and Parse share one space, and so do DECLARE and Bind. `resolve` turns an
 * EXECUTE into the statement behind it (action facts of what will run, under kind `execute`), and gives a FETCH the
 * columns of its cursor. A name this connection did not define is refused.
 */
export interface ConnectionNames {
  /** Called for each statement before it is judged. */
  resolve(statement: Statement, text: string, messages: MessageNames): Statement
  /** The target has closed that cursor (null: all), and nothing is under way that could open it again. */
  closed(name: string | null): void
  /** DISCARD ALL is done, and nothing is under way: no name means anything any more. */
  discarded(): void
  /** Outside of a transaction with nothing under way: only cursors WITH HOLD may be left. */
  settled(): void
  /** Relations this connection created: the catalog, read by another connection, may not show them yet. */
  readonly created: ReadonlySet<string>
  /** What SQL PREPARE defined: for a Bind that names it. */
  prepared(name: string): Statement | undefined
}

/** Rows by column name, text format. The port to a connection of its own; `search_path` there is `pg_catalog`. */
export type CatalogQuery = (sql: string) => Promise<readonly Readonly<Record<string, string | null>>[]>

export interface Catalog {
  /** The present snapshot; undefined until the first load. */
  current(): CatalogSnapshot | undefined
  /** Loads when what the database says differs from the snapshot. Concurrent calls share one load. @returns changed */
  refresh(): Promise<boolean>
  /** A statement may have changed the catalog: the next `refresh` loads for certain. */
  stale(): void
}

export interface CatalogSnapshot {
  readonly version: number
  readonly fingerprint: string
  readonly relations: ReadonlyMap<number, Relation>
  /** `schema\0name` → relation */
  readonly byName: ReadonlyMap<string, Relation>
  /** name → schemas outside pg_catalog that hold a function (aggregate, procedure) of that name */
  readonly functions: ReadonlyMap<string, readonly string[]>
  /** `schema\0name` of those that are all stable or immutable: they write nothing */
  readonly stableFunctions: ReadonlySet<string>
  /** Names of temporary tables, of any session. */
  readonly temporary: ReadonlySet<string>
  /** name → schemas that hold a user-made operator whose code is not C */
  readonly operators: ReadonlyMap<string, readonly string[]>
  /** `schema\0name` of types made by users whose input, casts or checks may run code (domains, base types, ranges) */
  readonly activeTypes: ReadonlySet<string>
  /** Casts made by users that run a function which is not C: their presence makes every cast on masked databases suspect. */
  readonly userCasts: boolean
}

export interface Relation {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly kind: 'table' | 'view' | 'matview' | 'foreign' | 'partitioned' | 'sequence' | 'composite' | 'other'
  readonly columns: readonly Column[]
  /** children by inheritance or partitioning */
  readonly children: readonly number[]
  /** The text of a view, its names qualified; null for what is no view. */
  readonly definition: string | null
}

export interface Column {
  readonly attnum: number
  readonly name: string
  readonly typeOid: number
  /** Attnums of the columns that a generated column is computed from. */
  readonly generatedFrom: readonly number[]
}

/** How a statement uses columns, free of any plan: computed once, judged against each plan. */
export interface ColumnUse {
  /** For each output column the one table column it shows bare, or null. `null` as a whole: positions are not known. */
  readonly outputs: readonly (ColumnId | null)[] | null
  /** Each use of a column that is not a bare output. attnum 0 is the whole row. */
  readonly uses: readonly (ColumnId & { readonly how: Use })[]
  /** Every relation it mentions (views as themselves), by OID. */
  readonly relations: readonly number[]
  /** Names the tree left open: unknown relations, unresolvable columns, constructs not followed. Refused under masking. */
  readonly open: readonly string[]
  /** Functions, operators and casts that are not known as harmless. Refused under masking. */
  readonly calls: readonly string[]
}

export interface ColumnId {
  readonly oid: number
  readonly attnum: number
}

export type Use =
  | 'expression'
  | 'predicate'
  | 'order'
  | 'group'
  | 'join'
  | 'union'
  | 'whole_row'
  | 'stored'
  | 'copied'
  | 'definition'

/** One field of a RowDescription. */
export interface Field {
  readonly name: string
  readonly tableOid: number
  readonly attnum: number
  readonly typeOid: number
}

/** The masking rules of a session, fitted to a catalog snapshot. */
export interface MaskPlan {
  /** No rule matches anything here: `judge` answers ok for everything and rows pass as they are. */
  readonly empty: boolean
  readonly version: number
  /** Pure: the same statement and plan give the same answer, remembered with the statement. */
  judge(statement: Statement): Judgement
  /**
   * How to rewrite the DataRows of a statement. `fields` comes from the RowDescription of the statement or portal;
   * the wire asks for one itself (Describe) when `judgement.describe` says so and the client did not.
   * `formats`: the result formats as Bind gave them (none: text; one: for all). In the simple protocol: [].
   */
  rows(
    judgement: Judgement & { readonly ok: true },
    fields: readonly Field[],
    formats: readonly number[],
  ): RowMask | null
}

export type Judgement =
  | {
      readonly ok: true
      /** It touches masked relations: its literals and parameters are not recorded, only `withoutLiterals(text)`. */
      readonly touches: boolean
      /** It has rows, and masks are in force: they may not go on before a RowDescription for them was seen: ask for one if the client did not. */
      readonly describe: boolean
      readonly outputs: readonly (ColumnId | null)[] | null
    }
  | { readonly ok: false; readonly reason: string }

export interface RowMask {
  /** For the journal: index and transform of each masked column. */
  readonly masked: readonly { readonly index: number; readonly transform: string }[]
  /** `body`: a DataRow without type byte and length (int16 count, then fields). Answers a new buffer, or throws on malformed bytes. */
  rewrite(body: Buffer): Buffer
  /** The same for the body at `source[from … end)`, written behind what `out` holds. What it wrote before it throws must not be used. */
  write(source: Buffer, from: number, end: number, out: RowWriter): void
}

export type FittedPlan =
  | { readonly ok: true; readonly plan: MaskPlan }
  | { readonly ok: false; readonly reason: string }
export type FitPlan = (
  rules: readonly MaskRule[],
  catalog: CatalogSnapshot | undefined,
  hashKey: Uint8Array,
) => FittedPlan

/** Fields of an ErrorResponse or NoticeResponse by their one-letter code. */
export type ResponseFields = ReadonlyMap<string, string>

/**
 * Where the values of these types come from:
 * - `parse.ts`     `loadParser(): Promise<void>` once at start, before any socket is accepted
 * - `analyze.ts`   `createAnalyzer(context: AnalyzerContext): Analyzer` one a connection or shared by all of a resource
 * - `catalog.ts`   `createCatalog(query: CatalogQuery): Catalog` one a resource and process; refresh ≤ 1 s while rules are in force
 * - `plan.ts`      `fitPlan: FitPlan` one a (rules, snapshot); refit when `catalog.current().version` moved
 * - `names.ts`     `createNames(): ConnectionNames` one a connection
 * - `literals.ts`  `withoutLiterals(sql: string): string` for the journal; never throws
 * - `scrub.ts`     `scrubResponse(fields: ResponseFields): ResponseFields` when `!plan.empty`
 * - `settings.ts`  `pinnedSettings: ReadonlyMap<string, string | null>` what to ask of the target at connect and to watch in ParameterStatus
 */
export interface AnalyzerContext {
  /** The schemas of `current_schemas(true)` as pinned at connect, in order. */
  readonly searchPath: readonly string[]
  readonly catalog: () => CatalogSnapshot | undefined
}
