import { strictness } from '../../../masking/transforms.ts'
import type { MaskRule } from '../../../policy/points.ts'
import type { CatalogSnapshot, Relation } from './contract.ts'

/** Columns of the system's own relations that hold values of users' tables, or what others typed: shown as NULL. */
const telling: Readonly<Record<string, string>> = {
  pg_stats: 'most_common_vals histogram_bounds most_common_elems range_length_histogram range_bounds_histogram',
  pg_stats_ext: 'most_common_vals most_common_val_nulls most_common_freqs most_common_base_freqs',
  pg_stats_ext_exprs:
    'most_common_vals histogram_bounds most_common_elems range_length_histogram range_bounds_histogram expr',
  pg_statistic: 'stavalues1 stavalues2 stavalues3 stavalues4 stavalues5',
  pg_statistic_ext_data: 'stxdndistinct stxddependencies stxdmcv stxdexpr',
  pg_largeobject: 'data',
  pg_attribute: 'attmissingval',
  pg_stat_activity: 'query',
  pg_stat_statements: 'query',
  pg_prepared_statements: 'statement',
  pg_cursors: 'statement',
  pg_authid: 'rolpassword',
  pg_shadow: 'passwd',
  pg_user_mapping: 'umoptions',
  pg_user_mappings: 'umoptions',
  pg_subscription: 'subconninfo',
}

export type Masked = Map<number, MaskRule['transform']>
const hide: MaskRule['transform'] = { kind: 'null' }

export const columnKey = (oid: number, attnum: number): number => oid * 4096 + attnum

/** `*` stands for any run of characters; everything else is itself. */
export function globMatches(glob: string, name: string): boolean {
  let from = 0
  const parts = glob.split('*')
  const last = parts.length - 1
  if (last === 0) return glob === name
  for (const [i, part] of parts.entries()) {
    if (i === 0) {
      if (!name.startsWith(part)) return false
      from = part.length
    } else if (i === last) return name.length - part.length >= from && name.endsWith(part)
    else {
      const at = name.indexOf(part, from)
      if (at < 0) return false
      from = at + part.length
    }
  }
  return true
}

/** The strictest of two transforms (design §5): by kind, then by what less is kept, then by text so that order never matters. */
export function stricter(a: MaskRule['transform'] | undefined, b: MaskRule['transform']): MaskRule['transform'] {
  if (a === undefined) return b
  const rank = (t: MaskRule['transform']) => strictness.indexOf(t.kind as (typeof strictness)[number])
  const difference = rank(a) - rank(b) || (a.keep_last ?? 4) - (b.keep_last ?? 4)
  if (difference !== 0) return difference < 0 ? a : b
  return JSON.stringify(a) <= JSON.stringify(b) ? a : b
}

export const isSystem = (relation: Relation): boolean =>
  relation.schema === 'pg_catalog' || relation.schema === 'information_schema'

export interface Matched {
  readonly masked: Masked
  /** Rules that name one column exactly and find none: the policy no longer fits (design §1.6). */
  readonly unmatched: readonly string[]
}

export function matchRules(rules: readonly MaskRule[], catalog: CatalogSnapshot): Matched {
  const masked: Masked = new Map()
  const unmatched: string[] = []
  for (const rule of rules) {
    const { schema, table, column } = rule.match
    let hits = 0
    for (const relation of catalog.relations.values()) {
      if (isSystem(relation) || !globMatches(schema, relation.schema) || !globMatches(table, relation.name)) continue
      for (const c of relation.columns) {
        if (!globMatches(column, c.name)) continue
        hits++
        mark(masked, relation.oid, c.attnum, rule.transform)
      }
    }
    if (hits === 0 && !`${schema}${table}${column}`.includes('*'))
      unmatched.push(`${rule.rule} (${schema}.${table}.${column})`)
  }
  return { masked, unmatched }
}

function mark(masked: Masked, oid: number, attnum: number, transform: MaskRule['transform']): boolean {
  const key = columnKey(oid, attnum)
  const before = masked.get(key)
  const after = stricter(before, transform)
  masked.set(key, after)
  return before !== after
}

/**
 * Follows a masked column to where its values also show: children (partitions, inheritance) and then parents, by column
 * name, and columns generated from it, whole.
 */
export function followTables(masked: Masked, catalog: CatalogSnapshot): void {
  const parents = new Map<number, number[]>()
  for (const r of catalog.relations.values())
    for (const child of r.children) parents.set(child, [...(parents.get(child) ?? []), r.oid])
  const spread = (start: readonly Relation[], next: (r: Relation) => readonly number[]) => {
    const queue = [...start]
    for (let relation = queue.pop(); relation !== undefined; relation = queue.pop()) {
      for (const oid of next(relation)) {
        const other = catalog.relations.get(oid)
        if (other === undefined) continue
        let changed = false
        for (const c of relation.columns) {
          const transform = masked.get(columnKey(relation.oid, c.attnum))
          const twin = transform === undefined ? undefined : other.columns.find(o => o.name === c.name)
          if (transform !== undefined && twin !== undefined && mark(masked, oid, twin.attnum, transform)) changed = true
        }
        if (changed) queue.push(other)
      }
    }
  }
  const all = [...catalog.relations.values()]
  spread(all, r => r.children)
  spread(all, r => parents.get(r.oid) ?? [])
  for (const relation of all) {
    for (const c of relation.columns) {
      if (c.generatedFrom.some(source => masked.has(columnKey(relation.oid, source))))
        mark(masked, relation.oid, c.attnum, { kind: 'redact' })
    }
  }
}

/** INVARIANT (MK12): where any column is masked, the statistics that hold its values are masked too. */
export function hideTelling(masked: Masked, catalog: CatalogSnapshot): void {
  for (const relation of catalog.relations.values()) {
    const columns = telling[relation.name]?.split(' ')
    if (columns === undefined || (relation.schema !== 'pg_catalog' && relation.name !== 'pg_stat_statements')) continue
    for (const c of relation.columns) if (columns.includes(c.name)) mark(masked, relation.oid, c.attnum, hide)
  }
}
