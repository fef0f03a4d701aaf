/**
 * What is read from the target's catalog. Every name is qualified, so that no object of users can take its place, and
 * each query has a limit: past it masking cannot be carried out, and the session is refused.
 */
export const maxRelations = 50_000
export const maxColumns = 1_000_000

const foreignTemp = `n.nspname !~ '^pg_(toast|temp)'`

/** Cheap, and different after any change that matters here: row counts and newest row versions of the catalogs. */
export const fingerprint = `
  select pg_catalog.concat_ws('/',
    (select pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.max(xmin::text::bigint), ':', pg_catalog.sum(xmin::text::bigint)) from pg_catalog.pg_class where relkind in ('r','v','m','f','p')),
    (select pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.max(xmin::text::bigint), ':', pg_catalog.sum(xmin::text::bigint)) from pg_catalog.pg_attribute where attrelid >= 16384),
    (select pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(xmin::text::bigint)) from pg_catalog.pg_inherits),
    (select pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(xmin::text::bigint)) from pg_catalog.pg_rewrite where ev_class >= 16384),
    (select pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(xmin::text::bigint)) from pg_catalog.pg_proc where oid >= 16384),
    (select pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(xmin::text::bigint)) from pg_catalog.pg_namespace),
    (select pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(xmin::text::bigint)) from pg_catalog.pg_type where oid >= 16384),
    (select pg_catalog.count(*) from pg_catalog.pg_operator where oid >= 16384),
    (select pg_catalog.count(*) from pg_catalog.pg_cast where oid >= 16384)) as fingerprint`

export const relations = `
  select c.oid::text as oid, n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
    case when c.relkind in ('v','m') and c.oid >= 16384 then pg_catalog.pg_get_viewdef(c.oid) end as definition
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r','v','m','f','p','S','c') and ${foreignTemp}
  order by c.oid limit ${maxRelations + 1}`

export const columns = `
  select a.attrelid::text as oid, a.attnum::text as attnum, a.attname::text as name, a.atttypid::text as type
  from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where a.attnum > 0 and not a.attisdropped and c.relkind in ('r','v','m','f','p','S','c') and ${foreignTemp}
  order by a.attrelid, a.attnum limit ${maxColumns + 1}`

export const inheritance = `
  select inhparent::text as parent, inhrelid::text as child from pg_catalog.pg_inherits limit ${maxRelations + 1}`

/** Generated columns and the columns they are computed from. */
export const generated = `
  select d.adrelid::text as oid, d.adnum::text as attnum, p.refobjsubid::text as source
  from pg_catalog.pg_attrdef d
    join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum and a.attgenerated <> ''
    join pg_catalog.pg_depend p on p.refclassid = 'pg_catalog.pg_class'::regclass and p.refobjid = d.adrelid and p.refobjsubid > 0
      and ((p.classid = 'pg_catalog.pg_attrdef'::regclass and p.objid = d.oid)
        or (p.classid = 'pg_catalog.pg_class'::regclass and p.objid = d.adrelid and p.objsubid = d.adnum))
  where p.refobjsubid <> d.adnum
  limit ${maxColumns + 1}`

export const functions = `
  select n.nspname::text as schema, p.proname::text as name, pg_catalog.bool_and(p.provolatile <> 'v')::text as stable
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where n.nspname not in ('pg_catalog', 'information_schema') or p.oid >= 16384
  group by 1, 2 limit ${maxRelations + 1}`

export const operators = `
  select n.nspname::text as schema, o.oprname::text as name
  from pg_catalog.pg_operator o join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
    join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang
  where o.oid >= 16384 and l.lanname not in ('c', 'internal') group by 1, 2 limit ${maxRelations + 1}`

/** Domains with checks, and base types made by users: their input may run code. */
export const types = `
  select n.nspname::text as schema, t.typname::text as name
  from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  where t.oid >= 16384 and (t.typtype = 'd' and exists (select from pg_catalog.pg_constraint k where k.contypid = t.oid)
    or t.typtype = 'b' and t.typelem = 0
      and exists (select from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang
        where p.oid = t.typinput and l.lanname not in ('c', 'internal')))
  limit ${maxRelations + 1}`

export const casts = `
  select pg_catalog.count(*)::text as casts
  from pg_catalog.pg_cast k join pg_catalog.pg_proc p on p.oid = k.castfunc join pg_catalog.pg_language l on l.oid = p.prolang
  where k.oid >= 16384 and l.lanname not in ('c', 'internal')`

export const temporary = `
  select distinct c.relname::text as name
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname ~ '^pg_temp' and c.relkind in ('r','v','S','p') limit ${maxRelations + 1}`
