import type { Database } from '../../../src/db/database.ts'

const digits = '0123456789abcdefghjkmnpqrstvwxyz'
const day_ms = 86_400_000
const actionsEach = 40 // of a session

/** Days begin at midnight UTC; the last one is yesterday. */
const startOf = (now_ms: number, days: number) => (Math.floor(now_ms / day_ms) - days) * day_ms

/** What the generated log is made of; the SQL below says the same. */
export const shape = {
  subject: (n: number) => `sub_${String(n % 400).padStart(26, '0')}`,
  resource: (n: number) => `db-${n % 60}`,
  /** The id of the first session of a day of the log: its beginning is in it, as in every session's. */
  session: (now_ms: number, days: number, day: number, entries: number) =>
    sessionId(startOf(now_ms, days) + day * day_ms, day * sessionsOf(entries, days)),
}

const othersOf = (entries: number) => Math.floor(entries / 10)
/** Of a day. */
const sessionsOf = (entries: number, days: number) => Math.ceil((entries - othersOf(entries)) / actionsEach / days)

function sessionId(ms: number, n: number): string {
  let text = ''
  for (let i = 0, left = ms; i < 10; i++, left = Math.floor(left / 32)) text = digits[left % 32] + text
  return `ses_${text}${String(n).padStart(16, '0')}`
}

/** Fills both tables by SQL, as many at once as there are connections, a day at a time, each without its indexes at first. */
export async function fillLog(
  databases: readonly Database[],
  { entries, days, now_ms }: { entries: number; days: number; now_ms: number },
): Promise<void> {
  const { sql } = databases[0]!
  const start_ms = startOf(now_ms, days)
  await sql`insert into revisions (generation, commit, digest, opa_version, opts, bundle, rules, signature, author, subject_line)
    select g, md5(g::text) || '00000000', md5(g::text), '1.22.0', 1, '\\x00', '{}', '\\x00', '', '' from generate_series(1, 20) g`
  const indexes = await indexesOf(databases[0]!, 'action_decisions')
  for (let day = 0; day < days; day++) await sql.unsafe(`drop table if exists ${partition(start_ms, day)}`)
  const sessions = sessionsOf(entries, days)
  const due = [
    (on: Database) => others(on, othersOf(entries), start_ms, days),
    ...Array.from(
      { length: days },
      (_, day) => (on: Database) => oneDay(on, { day, sessions, start_ms, days, indexes }),
    ),
  ]
  await Promise.all(
    databases.map(async on => {
      for (let next = due.shift(); next !== undefined; next = due.shift()) await next(on)
    }),
  )
  await sql`select decision_days.make(7)`
  await sql`analyze decisions`
  await sql`analyze action_decisions`
}

async function indexesOf({ sql }: Database, table: string): Promise<{ name: string; def: string }[]> {
  return sql<{ name: string; def: string }[]>`
    select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as def from pg_index i
    where i.indrelid = ${table}::regclass and not i.indisprimary`
}

async function others(on: Database, count: number, start_ms: number, days: number): Promise<void> {
  const indexes = await indexesOf(on, 'decisions')
  for (const { name } of indexes) await on.sql.unsafe(`drop index ${name}`)
  await on.sql.unsafe(accesses(count, start_ms, days))
  for (const { def } of indexes) await on.sql.unsafe(def)
}

function partition(start_ms: number, day: number): string {
  return `decision_days.d${dateOf(start_ms, day).replaceAll('-', '')}`
}

function dateOf(start_ms: number, day: number): string {
  return new Date(start_ms + day * day_ms).toISOString().slice(0, 10)
}

interface Day {
  readonly day: number
  readonly sessions: number
  readonly start_ms: number
  readonly days: number
  readonly indexes: readonly { readonly def: string }[]
}

/** A partition as `decision_days.make_one` makes one, but filled before it has indexes, in the transaction that made it. */
async function oneDay({ sql }: Database, { day, sessions, start_ms, days, indexes }: Day): Promise<void> {
  const name = partition(start_ms, day)
  await sql.begin(async tx => {
    await tx.unsafe(`create table ${name} (like action_decisions including defaults including constraints)`)
    await tx.unsafe(
      actions({
        name,
        first: day * sessions,
        sessions,
        start_ms: start_ms + day * day_ms,
        generation: 1 + Math.floor((19 * day) / days),
        old: day < 5,
      }),
    )
    await tx.unsafe(`alter table ${name} add primary key (id, day)`)
    for (const [i, { def }] of indexes.entries())
      await tx.unsafe(def.replace(/^(CREATE INDEX) \S+ ON ONLY public.action_decisions/, `$1 d${day}_${i} ON ${name}`))
  })
  await sql.unsafe(
    `alter table action_decisions attach partition ${name} for values from ('${dateOf(start_ms, day)}') to ('${dateOf(start_ms, day + 1)}')`,
  )
}

const subject = (n: string) => `'sub_' || lpad(((${n}) % 400)::text, 26, '0')`
const input = (n: string, role: string) =>
  `'{"action":{"facts":{},"functions":[],"kind":"select","protocol":"postgres","reads":[{"name":"customers","schema":"public"}],"verb":"read","writes":[]},"resource":{"address":"10.0.0.1:5432","labels":{"env":"staging"},"name":"db-' || ((${n}) % 60) || '","protocol":"postgres"},"role":"${role}","subject":{"claims":{},"email":"p' || ((${n}) % 400) || '@example.com","groups":["engineers"],"groups_at_ms":1795262400000,"id":"x","issuer":"https://issuer.example","kind":"person","name":"Person","on_behalf_of":null,"subject":"p","token":null},"n":'`
/** Of one subject on one resource, made once for many rows, and what one row has besides. */
const words = (n: string) =>
  `array_to_tsvector(array['customers', 'public', 'select', 'postgres', 'engineers', 'example', 'com', 'reader', 'staging', 'db', ((${n}) % 60)::text, 'p' || ((${n}) % 400)])`
const more = (
  rule: string,
) => `case ${rule} when 1 then '''rule=action.old'''::tsvector when 2 then '''rule=action.reader-write'''::tsvector
    when 3 then '''rule=action.read'''::tsvector when 4 then '''rule=access.rare'''::tsvector else '''rule=access.dba-approves'''::tsvector end
    || case when g % 3 = 0 then '''orders'''::tsvector else ''::tsvector end || case when g % 250000 = 7 then '''needle7'''::tsvector else ''::tsvector end`

interface Made {
  readonly name: string
  readonly first: number
  readonly sessions: number
  readonly start_ms: number
  readonly generation: number
  /** Then a rule made some of it that no later revision has. */
  readonly old: boolean
}

function actions({ name, first, sessions, start_ms, generation, old }: Made): string {
  const rule = `case when ${old} and g % 7 = 0 then 1 when g % 20 = 0 then 2 else 3 end`
  return `insert into ${name} (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons, subject_id, resource, session_id, batch, words, seq, day)
    select 'dec_' || substr(md5(g::text), 1, 26), began + (g % ${actionsEach}) * 2000, 'action', case when g % 20 = 0 then 'deny' else 'allow' end, 'policy', ${generation}, '${'0'.repeat(40)}', '${'0'.repeat(64)}',
      md5(g::text), input || g || '}', '{"effect":"allow","reasons":[]}', '[{"rule":"action.read","message":"read","at":"action/action.rego:10@x"}]'::jsonb,
      subject_id, resource, session_id, 'evt_' || (g / 2000), words || ${more(rule)}, null, day
    from (select s, began, 'ses_' || ${tenDigits('began')} || lpad(s::text, 16, '0') as session_id, ${words('s')} as words, ${input('s', 'reader')} as input,
          ${subject('s')} as subject_id, 'db-' || (s % 60) as resource, (to_timestamp(${start_ms / 1000}) at time zone 'UTC')::date as day
        from (select s::bigint as s, ${start_ms}::bigint + ((s - ${first})::bigint * 7919000) % ${day_ms} as began
          from generate_series(${first}, ${first + sessions - 1}) s) numbered offset 0) opened,
      generate_series(s * ${actionsEach}, s * ${actionsEach} + ${actionsEach - 1}) g`
}

function accesses(count: number, start_ms: number, days: number): string {
  const at = `(${start_ms}::bigint + (g::bigint * 7919000) % (${days}::bigint * ${day_ms}))`
  const rule = `case when g % 100000 = 11 then 4 else 5 end`
  return `insert into decisions (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons, subject_id, resource, request_id, batch, words, seq)
    select 'dec_a' || substr(md5(g::text), 1, 25), at_ms, case when g % 3 = 0 then 'admin' else 'access' end, case when g % 9 = 0 then 'deny' when g % 4 = 0 then 'ask' else 'allow' end, 'policy',
      generation, '${'0'.repeat(40)}', '${'0'.repeat(64)}', md5(g::text), ${input('g', 'writer')} || g || '}', '{"effect":"allow","reasons":[]}', '[]'::jsonb,
      ${subject('g')}, 'db-' || (g % 60), 'req_' || g, 'evt_x', ${words('g')} || ${more(rule)}, null
    from (select g, ${at} as at_ms, 1 + (19 * (${at} - ${start_ms}::bigint)) / (${days}::bigint * ${day_ms}) as generation from generate_series(0, ${count - 1}) g) made`
}

function tenDigits(ms: string): string {
  return Array.from({ length: 10 }, (_, i) => `substr('${digits}', ((${ms} >> ${5 * (9 - i)}) & 31)::int + 1, 1)`).join(
    ' || ',
  )
}
