import type { ColumnId } from './contract.ts'

/** One column that a name can find. `origin`: the table column it shows unchanged, null for anything computed. */
export interface ScopeColumn {
  /** null: the server made up a name. */
  readonly name: string | null
  readonly origin: ColumnId | null
  /** Stands for any number of columns that are not known (a function's result). None of them shows a table column. */
  readonly open?: true
}

export type Columns = readonly ScopeColumn[]
export const openColumns: Columns = [{ name: null, origin: null, open: true }]

/** One entry of a FROM clause, as names see it. */
export interface Source {
  readonly alias: string
  /** Schema and relation name for `schema.table.column`; only for tables without an alias. */
  readonly schema: string | null
  readonly columns: Columns
  /** The table behind it, for whole rows and system columns. */
  readonly oid: number | null
  /** Old and new rows in RETURNING: the server may not keep where they come from. */
  readonly derived: boolean
}

export interface Scope {
  readonly parent: Scope | undefined
  readonly sources: Source[]
}

export type Found =
  /** `derived`: it may be that column, or something made of it; never take it as bare. */
  | { readonly kind: 'column'; readonly origins: readonly ColumnId[]; readonly derived: boolean }
  /** A row as a value: the alias itself, or `alias.name` where name is no column (that is a call of name(alias)). */
  | { readonly kind: 'row'; readonly sources: readonly Source[]; readonly call: string | null }
  | { readonly kind: 'missing' }

const systemColumns: ReadonlySet<string> = new Set(['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid'])

/**
 * Finds a column as the server does: the innermost level that knows the name wins. Where this is less sure than the
 * server (a source with unknown columns at that level), the levels above count too.
 */
export function findColumn(scope: Scope, name: string): Found {
  const origins: ColumnId[] = []
  let found = false
  let guessed = false
  for (let level: Scope | undefined = scope; level !== undefined; level = level.parent) {
    let unsure = false
    let here = false
    for (const source of level.sources) {
      if (source.derived) continue
      for (const column of source.columns) {
        // a column whose name is not known may be the one
        if (column.name === null) unsure = true
        else if (column.name === name) here = true
        else continue
        if (column.origin === null) continue
        origins.push(column.origin)
        guessed ||= column.name === null
      }
      if (source.oid !== null && systemColumns.has(name)) here = true
    }
    found ||= here || unsure
    if (here && !unsure) break
  }
  if (origins.length > 0 || found) {
    const row = origins.length === 0 ? findRow(scope, name) : undefined
    // a name that only an unknown column could explain may as well be the row of that alias
    if (row !== undefined && !isNamed(scope, name)) return row
    return { kind: 'column', origins, derived: guessed }
  }
  return findRow(scope, name) ?? { kind: 'missing' }
}

function isNamed(scope: Scope, name: string): boolean {
  for (let level: Scope | undefined = scope; level !== undefined; level = level.parent)
    if (level.sources.some(s => s.columns.some(c => c.name === name))) return true
  return false
}

function findRow(scope: Scope, alias: string): Found | undefined {
  const sources = findSources(scope, null, alias)
  return sources.length === 0 ? undefined : { kind: 'row', sources, call: null }
}

/** The sources that `alias.` or `schema.alias.` may mean: those of the innermost level that has one. */
export function findSources(scope: Scope, schema: string | null, alias: string): readonly Source[] {
  for (let level: Scope | undefined = scope; level !== undefined; level = level.parent) {
    const here = level.sources.filter(
      s => s.alias === alias && (schema === null || s.schema === schema || s.schema === ''),
    )
    if (here.length > 0) return here
  }
  return []
}

export function findQualified(scope: Scope, schema: string | null, alias: string, name: string): Found {
  const sources = findSources(scope, schema, alias)
  if (sources.length === 0) return { kind: 'missing' }
  const origins: ColumnId[] = []
  let here = false
  for (const source of sources) {
    for (const column of source.columns) {
      if (column.name !== name) continue
      here = true
      if (column.origin !== null) origins.push(column.origin)
    }
    if (source.oid !== null && systemColumns.has(name)) here = true
  }
  if (here) return { kind: 'column', origins, derived: sources.some(s => s.derived) }
  return { kind: 'row', sources, call: name }
}

/** Gives the first columns the names of an alias list: `t(a, b)`. Behind open columns nobody knows which name is whose. */
export function renamed(columns: Columns, names: readonly string[]): Columns {
  if (names.length === 0) return columns
  let certain = true
  return columns.map((column, i) => {
    if (column.open) certain = false
    if (!certain) return column.open ? column : { ...column, name: null }
    const name = names[i]
    return name === undefined ? column : { ...column, name }
  })
}

/** The same columns, showing no table column any more. */
export const computed = (columns: Columns): Columns => columns.map(c => (c.open ? c : { name: c.name, origin: null }))
