import type { Database } from '../../../src/db/database.ts'

const digits = '0123456789abcdefghjkmnpqrstvwxyz'
const day_ms = 86_400_000
const actionsEach = 40 // of a session

/** What the generated log is made of; the SQL below says the same. */
export const shape = {
  subject: (n: number) => `sub_${String(n % 400).padStart(26, '0')}`,
  resource: (n: number) => `db-${n % 60}`,
  /** The id of the nth session of the log: its beginning is in it, as in every session's. */
  session: (now_ms: number, days: number, n: number) => sessionId(beganAt(now_ms, days, n), n),
}

/** Sessions are spread evenly; the nth is this old. Those of one second differ in their last digits. */
function beganAt(now_ms: number, days: number, n: number): number {
  return Math.floor(now_ms / 1000) * 1000 - days * day_ms + ((n * 7_919_000) % (days * day_ms))
}

function sessionId(ms: number, n: number): string {
  let text = ''
  for (let i = 0, left = ms; i < 10; i++, left = Math.floor(left / 32)) text = digits[left % 32] + text
  return `ses_${text}${String(n).padStart(16, '0')}`
}

/** Fills both tables by SQL, without their indexes and with them made afterwards, which is what takes the time it takes. */
export async function fillLog(
  database: Database,
  { entries, days, now_ms }: { entries: number; days: number; now_ms: number },
): Promise<void> {
  const { sql } = database
  const start_ms = Math.floor(now_ms / 1000) * 1000 - days * day_ms
  await sql`insert into revisions (generation, commit, digest, opa_version, opts, bundle, rules, signature, author, subject_line)
    select g, md5(g::text) || '00000000', md5(g::text), '1.22.0', 1, '\\x00', '{}', '\\x00', '', '' from generate_series(1, 20) g`
  await sql.unsafe(
    `do $$ begin for i in 0..${days} loop perform decision_days.make_one((to_timestamp(${start_ms / 1000}) at time zone 'UTC')::date + i); end loop; end $$`,
  )
  const others = Math.floor(entries / 10)
  await Promise.all([
    filled(database, 'action_decisions', () => sql.unsafe(actions(entries - others, start_ms, days))),
    filled(database, 'decisions', () => sql.unsafe(accesses(others, start_ms, days))),
  ])
  await sql`analyze decisions`
  await sql`analyze action_decisions`
}

/** Drops the secondary indexes, runs, and makes them again as they were. */
async function filled({ sql }: Database, table: string, run: () => Promise<unknown>): Promise<void> {
  const indexes = await sql<{ name: string; def: string }[]>`
    select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as def from pg_index i
    where i.indrelid = ${table}::regclass and not i.indisprimary`
  for (const { name } of indexes) await sql.unsafe(`drop index ${name}`)
  await run()
  for (const { def } of indexes) await sql.unsafe(def.replace(' ON ONLY ', ' ON '))
}

const subject = (n: string) => `'sub_' || lpad(((${n}) % 400)::text, 26, '0')`
const input = (n: string, role: string) =>
  `'{"action":{"facts":{},"functions":[],"kind":"select","protocol":"postgres","reads":[{"name":"customers","schema":"public"}],"verb":"read","writes":[]},"resource":{"address":"10.0.0.1:5432","labels":{"env":"staging"},"name":"db-' || ((${n}) % 60) || '","protocol":"postgres"},"role":"${role}","subject":{"claims":{},"email":"p' || ((${n}) % 400) || '@example.com","groups":["engineers"],"groups_at_ms":1795262400000,"id":"x","issuer":"https://issuer.example","kind":"person","name":"Person","on_behalf_of":null,"subject":"p","token":null},"n":' || g || '}'`
const words = (
  rule: string,
) => `array_to_tsvector(array['customers', 'public', 'select', 'postgres', 'engineers', 'example', 'com', 'reader', 'staging', 'db', (g % 60)::text, 'p' || (g % 400), ${rule}]
    || case when g % 3 = 0 then array['orders'] else '{}' end || case when g % 250000 = 7 then array['needle7'] else '{}' end)`

function actions(count: number, start_ms: number, days: number): string {
  const n = `(g / ${actionsEach})`
  const began = `(${start_ms}::bigint + (${n}::bigint * 7919000) % (${days}::bigint * ${day_ms}))`
  const rule = `case when ${began} < ${start_ms}::bigint + 5 * ${day_ms}::bigint and g % 7 = 0 then 'rule=action.old' when g % 20 = 0 then 'rule=action.reader-write' else 'rule=action.read' end`
  return `insert into action_decisions (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons, subject_id, resource, session_id, batch, words, seq, day)
    select 'dec_' || substr(md5(g::text), 1, 26), at_ms, 'action', case when g % 20 = 0 then 'deny' else 'allow' end, 'policy', generation, md5(generation::text) || '00000000', md5(generation::text),
      md5(g::text) || md5(g::text), ${input('s', 'reader')}, '{"effect":"allow","reasons":[]}', '[{"rule":"action.read","message":"read","at":"action/action.rego:10@x"}]'::jsonb,
      ${subject('s')}, 'db-' || (s % 60), session_id, 'evt_' || (g / 2000), ${words('rule')}, null, (to_timestamp(began / 1000) at time zone 'UTC')::date
    from (select g, ${n} as s, ${began} as began, ${began} + (g % ${actionsEach}) * 2000 as at_ms, 1 + (19 * (${began} - ${start_ms}::bigint)) / (${days}::bigint * ${day_ms}) as generation, ${rule} as rule,
        'ses_' || ${tenDigits(began)} || lpad(${n}::text, 16, '0') as session_id
      from generate_series(0, ${count - 1}) g) made`
}

function accesses(count: number, start_ms: number, days: number): string {
  const at = `(${start_ms}::bigint + (g::bigint * 7919) % (${days}::bigint * ${day_ms}))`
  const rule = `case when g % 100000 = 11 then 'rule=access.rare' else 'rule=access.dba-approves' end`
  return `insert into decisions (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons, subject_id, resource, request_id, batch, words, seq)
    select 'dec_a' || substr(md5(g::text), 1, 25), at_ms, case when g % 3 = 0 then 'admin' else 'access' end, case when g % 9 = 0 then 'deny' when g % 4 = 0 then 'ask' else 'allow' end, 'policy',
      generation, md5(generation::text) || '00000000', md5(generation::text), md5(g::text), ${input('g', 'writer')}, '{"effect":"allow","reasons":[]}', '[]'::jsonb,
      ${subject('g')}, 'db-' || (g % 60), 'req_' || g, 'evt_x', ${words(rule)}, null
    from (select g, ${at} as at_ms, 1 + (19 * (${at} - ${start_ms}::bigint)) / (${days}::bigint * ${day_ms}) as generation from generate_series(0, ${count - 1}) g) made`
}

function tenDigits(ms: string): string {
  return Array.from({ length: 10 }, (_, i) => `substr('${digits}', ((${ms} >> ${5 * (9 - i)}) & 31)::int + 1, 1)`).join(
    ' || ',
  )
}
