import { SallyportError } from '../../../errors.ts'
import * as queries from './catalog-queries.ts'
import type { Catalog, CatalogQuery, CatalogSnapshot, Column, Relation } from './contract.ts'

/**
 * The names and columns of a target database. One a resource and process; `query` runs on a connection of its own, as a
 * role that may read the catalog. A refresh asks for the fingerprint first and loads only when it differs.
 */
export function createCatalog(query: CatalogQuery): Catalog {
  let snapshot: CatalogSnapshot | undefined
  let mustLoad = true
  let running: Promise<boolean> | undefined

  async function refresh(): Promise<boolean> {
    const forced = mustLoad
    mustLoad = false
    try {
      const fingerprint = (await query(queries.fingerprint))[0]?.fingerprint ?? ''
      if (!forced && fingerprint === snapshot?.fingerprint) return false
      const loaded = await load(query, fingerprint, (snapshot?.version ?? 0) + 1)
      const changed = snapshot === undefined || !same(snapshot, loaded)
      // an equal snapshot keeps its identity, and so does all that was computed from it
      if (changed) snapshot = loaded
      return changed
    } catch (fault) {
      mustLoad = true
      throw fault
    }
  }

  return {
    current: () => snapshot,
    stale: () => {
      mustLoad = true
    },
    async refresh() {
      if (running !== undefined && !mustLoad) return running
      const before = running
      const mine = (async () => {
        await before?.catch(() => false)
        return refresh()
      })()
      running = mine
      try {
        return await mine
      } finally {
        if (running === mine) running = undefined
      }
    },
  }
}

async function load(query: CatalogQuery, fingerprint: string, version: number): Promise<CatalogSnapshot> {
  const bounded = async (what: string, sql: string, limit: number) => {
    const rows = await query(sql)
    if (rows.length > limit)
      throw new SallyportError('unsupported', `the target's catalog holds more than ${limit} ${what}`, {
        remedy: 'point the resource at a smaller database',
      })
    return rows
  }
  const relationRows = await bounded('relations', queries.relations, queries.maxRelations)
  const columnRows = await bounded('columns', queries.columns, queries.maxColumns)
  const childRows = await bounded('partitions', queries.inheritance, queries.maxRelations)
  const generatedRows = await bounded('generated columns', queries.generated, queries.maxColumns)

  const sources = group(
    generatedRows,
    r => `${r.oid}.${r.attnum}`,
    r => Number(r.source),
  )
  const columns = group(
    columnRows,
    r => String(r.oid),
    (r): Column => ({
      attnum: Number(r.attnum),
      name: r.name ?? '',
      typeOid: Number(r.type),
      generatedFrom: sources.get(`${r.oid}.${r.attnum}`) ?? [],
    }),
  )
  const children = group(
    childRows,
    r => String(r.parent),
    r => Number(r.child),
  )
  const relations = new Map<number, Relation>()
  const byName = new Map<string, Relation>()
  for (const row of relationRows) {
    const relation: Relation = {
      oid: Number(row.oid),
      schema: row.schema ?? '',
      name: row.name ?? '',
      kind: kinds[row.kind ?? ''] ?? 'other',
      columns: columns.get(String(row.oid)) ?? [],
      children: children.get(String(row.oid)) ?? [],
      definition: row.definition ?? null,
    }
    relations.set(relation.oid, relation)
    byName.set(`${relation.schema}\0${relation.name}`, relation)
  }
  const functionRows = await bounded('functions', queries.functions, queries.maxRelations)
  const operatorRows = await bounded('operators', queries.operators, queries.maxRelations)
  const typeRows = await bounded('types', queries.types, queries.maxRelations)
  const temporaryRows = await bounded('temporary tables', queries.temporary, queries.maxRelations)
  const casts = (await query(queries.casts))[0]?.casts
  const qualified = (r: Readonly<Record<string, string | null>>) => `${r.schema}\0${r.name}`
  return {
    version,
    fingerprint,
    relations,
    byName,
    functions: group(
      functionRows,
      r => r.name ?? '',
      r => r.schema ?? '',
    ),
    stableFunctions: new Set(functionRows.filter(r => r.stable === 'true' || r.stable === 't').map(qualified)),
    operators: group(
      operatorRows,
      r => r.name ?? '',
      r => r.schema ?? '',
    ),
    activeTypes: new Set(typeRows.map(qualified)),
    temporary: new Set(temporaryRows.map(r => r.name ?? '')),
    userCasts: casts !== '0',
  }
}

const kinds: Readonly<Record<string, Relation['kind']>> = {
  r: 'table',
  p: 'partitioned',
  v: 'view',
  m: 'matview',
  f: 'foreign',
  S: 'sequence',
  c: 'composite',
}

function group<R, V>(rows: readonly R[], key: (row: R) => string, value: (row: R) => V): Map<string, V[]> {
  const groups = new Map<string, V[]>()
  for (const row of rows) {
    const k = key(row)
    const present = groups.get(k)
    if (present === undefined) groups.set(k, [value(row)])
    else present.push(value(row))
  }
  return groups
}

function same(a: CatalogSnapshot, b: CatalogSnapshot): boolean {
  return (
    a.relations.size === b.relations.size &&
    a.functions.size === b.functions.size &&
    a.userCasts === b.userCasts &&
    JSON.stringify(essence(a)) === JSON.stringify(essence(b))
  )
}

const essence = (s: CatalogSnapshot): unknown => [
  [...s.relations.values()],
  [...s.functions].sort(),
  [...s.operators].sort(),
  [...s.stableFunctions].sort(),
  [...s.activeTypes].sort(),
  [...s.temporary].sort(),
]
