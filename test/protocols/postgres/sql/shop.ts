import { Client } from 'pg'
import { BufferReader } from 'pg-protocol/dist/buffer-reader.js'
import type { MaskRule } from '../../../../src/policy/points.ts'
import { createAnalyzer } from '../../../../src/protocols/postgres/sql/analyze.ts'
import { createCatalog } from '../../../../src/protocols/postgres/sql/catalog.ts'
import type {
  Analyzer,
  Catalog,
  CatalogSnapshot,
  Field,
  MaskPlan,
} from '../../../../src/protocols/postgres/sql/contract.ts'
import { loadParser } from '../../../../src/protocols/postgres/sql/parse.ts'
import { fitPlan } from '../../../../src/protocols/postgres/sql/plan.ts'
import { createTestDatabase } from '../../../support/database.ts'

const readText = BufferReader.prototype.string

/** The driver reads every value as UTF-8, which breaks binary ones: here one byte is one character. */
function readBytes(this: BufferReader, length: number): string {
  const { buffer, offset } = this
  this.offset += length
  return buffer.toString('latin1', offset, offset + length)
}

/** Values that must never show. Each is found as text, and as the bytes of its type. */
export const canaries = [
  'CANARYSSN1',
  'CANARYSSN2',
  'CANARYSSN3',
  'canary.one@secret.example',
  'canary.two@secret.example',
  'canary.three@secret.example',
  'CANARYNOTE1',
  'CANARYNOTE2',
  'CANARYTAG1',
  'CANARYTAG2',
  'CANARYFILE1',
  '4111999988887777',
  '4222999988886666',
  '11111111-aaaa-4aaa-8aaa-c0ffee000001',
  'CANARYPART1',
  'CANARYCHILD1',
  'CANARYPARENT1',
  'CANARYODD1',
]

const hex = (n: bigint) => n.toString(16).padStart(16, '0')
export const canaryBytes: readonly string[] = [
  ...canaries.map(c => Buffer.from(c).toString('hex')),
  hex(4111999988887777n),
  hex(4222999988886666n),
  '11111111aaaa4aaa8aaac0ffee000001',
]

const schema = `
  create table customers (
    id int primary key, name text not null, email text, ssn text unique, card bigint, notes jsonb, doc json, tags text[],
    photo bytea, national uuid, city varchar(40), code char(12), born date, score numeric, vip boolean default false,
    upper_ssn text generated always as (upper(ssn)) stored);
  insert into customers (id, name, email, ssn, card, notes, doc, tags, photo, national, city, code, born, score) values
    (1, 'Ann', 'canary.one@secret.example', 'CANARYSSN1', 4111999988887777, '{"n":"CANARYNOTE1"}', '{"n":"CANARYNOTE1"}', '{CANARYTAG1,"b c"}', 'CANARYFILE1', '11111111-aaaa-4aaa-8aaa-c0ffee000001', 'Oslo', 'x', '1980-01-01', 1.5),
    (2, 'Bob', 'canary.two@secret.example', 'CANARYSSN2', 4222999988886666, '"CANARYNOTE2"', '"CANARYNOTE2"', '{CANARYTAG2,NULL}', 'CANARYFILE1', null, 'Bergen', 'y', '1981-01-01', 2.5),
    (3, 'Cyd', 'canary.three@secret.example', 'CANARYSSN3', null, null, null, null, null, null, null, null, null, null);
  create table orders (id int primary key, customer_id int references customers(id), total numeric, note text, data jsonb);
  insert into orders values (10, 1, 99.5, 'first', '{"a":1}'), (11, 1, 5, 'second', null), (12, 2, 7, 'third', null);
  create table plain (id int, name text, ssn text);
  insert into plain values (1, 'p', 'not masked here');
  create schema other; create table other.customers (id int, ssn text); insert into other.customers values (1, 'free');
  create table events (id int, kind text, secret text) partition by range (id);
  create table events_1 partition of events for values from (0) to (100);
  insert into events values (1, 'a', 'CANARYPART1');
  create table base (id int, secret text); create table leaf (extra int) inherits (base);
  insert into base values (1, 'CANARYPARENT1'); insert into leaf values (2, 'CANARYCHILD1', 3);
  create table "Odd Name" (id int, "Säcret" text); insert into "Odd Name" values (1, 'CANARYODD1');
  create table archive (id int, body text);
  create view simple_view as select id, ssn as social, name from customers;
  create view over_view as select social, id from simple_view;
  create view safe_view as select id, name, city from customers;
  create view computed_view as select id, upper(ssn) as u from customers;
  create view filtered_view as select id from customers where ssn like 'C%';
  create view stats_view as select tablename, attname, most_common_vals::text as v from pg_stats;
  create materialized view stored_view as select id, ssn from customers;
  create materialized view stored_computed as select id, ssn || '' as s from customers;
  create function leak() returns setof text language sql security definer as 'select ssn from customers';
  create function leak_one(int) returns text language plpgsql security definer stable as $$ begin return (select ssn from customers where id = $1); end $$;
  create function evil(customers) returns text language sql as 'select ($1).ssn';
  create function evil_any(anyelement) returns text language plpgsql as $$ begin return $1::text; end $$;
  create function evil_plain(plain) returns text language sql as 'select ssn from customers limit 1';
  create function lower(varchar) returns text language sql as 'select ssn from customers limit 1';
  create function op_leak(int, int) returns text language sql as 'select ssn from customers limit 1';
  create operator @@@ (leftarg = int, rightarg = int, function = op_leak);
  create domain checked as text check (length(value) > 0);
  create view calling_view as select leak_one(1) as x;
  create type mood as enum ('ok', 'sad');
  create sequence seq;
  analyze;
`

export const rules: readonly MaskRule[] = [
  rule('ssn', 'customers', 'ssn', { kind: 'redact' }),
  rule('email', 'customers', 'email', { kind: 'partial', keep_last: 3 }),
  rule('card', 'customers', 'card', { kind: 'partial', keep_last: 4 }),
  rule('notes', 'customers', 'notes', { kind: 'redact' }),
  rule('doc', 'customers', 'doc', { kind: 'hash' }),
  rule('tags', 'customers', 'tags', { kind: 'fixed', value: 'hidden "tag"' }),
  rule('photo', 'customers', 'photo', { kind: 'hash' }),
  rule('national', 'customers', 'national', { kind: 'hash' }),
  rule('events', 'events', 'secret', { kind: 'redact' }),
  rule('child', 'leaf', 'secret', { kind: 'redact' }),
  rule('odd', 'Odd Name', 'Säcret', { kind: 'redact' }),
]

function rule(name: string, table: string, column: string, transform: MaskRule['transform']): MaskRule {
  return { rule: `mask.${name}`, match: { schema: 'public', table, column }, transform }
}

export const hashKey = Buffer.alloc(32, 7)

export interface Shop {
  readonly client: Client
  readonly catalog: Catalog
  readonly snapshot: CatalogSnapshot
  readonly analyzer: Analyzer
  readonly plan: MaskPlan
  close(): Promise<void>
}

/** A shop database on a real server, its catalog as the gateway sees it, and the masks fitted to it. */
export async function openShop(): Promise<Shop> {
  await loadParser()
  const database = await createTestDatabase()
  await database.database.sql.unsafe('drop schema public cascade; create schema public')
  await database.database.sql.unsafe(schema)
  const client = new Client({ connectionString: database.url.reveal() })
  await client.connect()
  const reader = new Client({ connectionString: database.url.reveal(), options: '-c search_path=pg_catalog' })
  await reader.connect()
  const catalog = createCatalog(
    async sql => (await reader.query({ text: sql, types: { getTypeParser: () => (v: string) => v } })).rows,
  )
  await catalog.refresh()
  const snapshot = catalog.current()!
  const analyzer = createAnalyzer({ searchPath: ['pg_catalog', 'public'], catalog: () => catalog.current() })
  const fitted = fitPlan(rules, snapshot, hashKey)
  if (!fitted.ok) throw new Error(fitted.reason)
  return {
    client,
    catalog,
    snapshot,
    analyzer,
    plan: fitted.plan,
    close: async () => {
      await client.end()
      await reader.end()
      await database.drop()
    },
  }
}

export interface Answer {
  readonly fields: readonly Field[]
  readonly format: number
  readonly rows: readonly (readonly (Buffer | null)[])[]
}

/** Runs a statement with raw values. `binary` goes by the extended protocol. */
export async function run(client: Client, sql: string, binary: boolean): Promise<Answer> {
  const raw = { getTypeParser: () => (value: string | Buffer) => value }
  const config = { text: sql, rowMode: 'array', types: raw, ...(binary ? { binary: true, queryMode: 'extended' } : {}) }
  BufferReader.prototype.string = readBytes
  const result = (await (client.query(config as never) as unknown as Promise<unknown>).finally(() => {
    BufferReader.prototype.string = readText
  })) as unknown as {
    fields: { name: string; tableID: number; columnID: number; dataTypeID: number }[]
    rows: (string | Buffer | null)[][]
  }
  return {
    fields: result.fields.map(f => ({ name: f.name, tableOid: f.tableID, attnum: f.columnID, typeOid: f.dataTypeID })),
    format: binary ? 1 : 0,
    rows: result.rows.map(row => row.map(v => (v === null ? null : Buffer.from(v.toString(), 'latin1')))),
  }
}

export function dataRow(values: readonly (Buffer | null)[]): Buffer {
  const head = Buffer.alloc(2)
  head.writeInt16BE(values.length)
  return Buffer.concat([
    head,
    ...values.flatMap(v => {
      const length = Buffer.alloc(4)
      length.writeInt32BE(v === null ? -1 : v.length)
      return v === null ? [length] : [length, v]
    }),
  ])
}

export function valuesOf(body: Buffer): (Buffer | null)[] {
  const values: (Buffer | null)[] = []
  let at = 2
  for (let i = 0; i < body.readInt16BE(0); i++) {
    const length = body.readInt32BE(at)
    values.push(length < 0 ? null : body.subarray(at + 4, at + 4 + length))
    at += 4 + Math.max(0, length)
  }
  return values
}

/** The canaries that show in bytes, in any of the ways they may be written. */
export function leaks(body: Buffer): string[] {
  const text = body.toString('utf8').toLowerCase()
  const bytes = body.toString('hex')
  return [
    ...canaries.filter(c => text.includes(c.toLowerCase())),
    ...canaryBytes.filter(c => bytes.includes(c) || text.includes(c)),
    ...canaries.filter(c => text.includes(Buffer.from(c).toString('base64').slice(0, 12).toLowerCase())),
  ]
}
