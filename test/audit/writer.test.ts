import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { openDatabase } from '../../src/db/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await createTestDatabase()
})
afterAll(() => db.drop())

const event = (n: number) => ({ type: 'vote.cast', body: { n } }) as const
async function chains() {
  const rows = await db.database.sql<{ writer: string; wseq: number; prev: string; leaf: string }[]>`
    select writer, wseq::int, leaf::json ->> 'prev' as prev, leaf from audit_inbox order by writer, wseq`
  return [...new Set(rows.map(row => row.writer))].map(writer => rows.filter(row => row.writer === writer))
}

function signal() {
  let give = () => {}
  const given = new Promise<void>(resolve => (give = resolve))
  return { given, give }
}

describe('the audit writer', () => {
  test('many transactions at once, half of them rolled back, leave chains without gaps', async () => {
    const writer = createAuditWriter({ database: db.database, process_id: 'prc_a' })
    const results = await Promise.allSettled(
      Array.from({ length: 200 }, (_, n) =>
        db.database.db.transaction(async tx => {
          await writer.record(tx, event(n))
          if (n % 2 === 1) throw new Error('rolled back')
          await writer.record(tx, event(n + 1000))
        }),
      ),
    )
    expect(results.filter(r => r.status === 'fulfilled')).toHaveLength(100)
    const all = await chains()
    expect(all.flat()).toHaveLength(200)
    for (const chain of all) expect(chain.map(row => row.wseq)).toEqual(chain.map((_, i) => i + 1))
    expect(all.length).toBeLessThanOrEqual(16) // about one lane for each transaction at a time; the pool holds 8
  })

  test('texts of every kind arrive as they are', async () => {
    const writer = createAuditWriter({ database: db.database, process_id: 'prc_texts' })
    const texts = [
      '',
      'null',
      'NULL',
      ' ',
      'a b',
      '"',
      '\\',
      '{}',
      ',',
      'a,"b\\"}',
      '\n',
      '\u00a0',
      '\u2028',
      'ß🚪',
      "'",
    ]
    const events = texts.map(text => ({
      type: 'vote.cast' as const,
      body: { text },
      resource: text,
      session_id: `ses_${text}`,
    }))
    const ids = await db.database.db.transaction(tx => writer.recordAll(tx, events))
    const rows = await db.database.sql<
      { id: string; body: string; resource: string; session_id: string; subject_id: null }[]
    >`
      select id, body, resource, session_id, subject_id from audit_inbox where id = any(${ids}) order by audit_inbox.seq`
    expect(rows.map(row => ({ ...row, body: JSON.parse(row.body) }))).toEqual(
      texts.map((text, i) => ({
        id: ids[i],
        body: { id: ids[i], resource: text, session_id: `ses_${text}`, text },
        resource: text,
        session_id: `ses_${text}`,
        subject_id: null,
      })),
    )
  })

  test('transactions that take the same locks in another order than the log do not deadlock', async () => {
    const writer = createAuditWriter({ database: db.database, process_id: 'prc_b' })
    await db.database.sql`create table contended as select 1 as id`
    const first = signal()
    const second = signal()
    const recordsFirst = db.database.db.transaction(async tx => {
      await writer.record(tx, event(1))
      first.give()
      await second.given
      await tx.execute('update contended set id = id + 1')
    })
    const locksFirst = db.database.db.transaction(async tx => {
      await first.given
      await tx.execute('update contended set id = id + 1')
      second.give()
      await writer.record(tx, event(2))
    })
    await Promise.all([recordsFirst, locksFirst])
  })

  test('what a rolled-back transaction recorded is not there', async () => {
    const writer = createAuditWriter({ database: db.database, process_id: 'prc_c' })
    let id = ''
    await expect(
      db.database.db.transaction(async tx => {
        id = await writer.record(tx, event(1))
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(await db.database.sql`select from audit_inbox where id = ${id}`).toHaveLength(0)
  })

  test('an event that cannot be appended is a fault of its own, so the act does not happen', async () => {
    const writer = createAuditWriter({ database: db.database, process_id: 'prc_d' })
    const refused = db.database.db.transaction(async tx => {
      await tx.execute(`set local lock_timeout = '100ms'`)
      await tx.execute('set transaction read only')
      await writer.record(tx, event(1))
    })
    await expect(refused).rejects.toMatchObject({ code: 'audit_unavailable' })
    await expect(
      db.database.db.transaction(tx => writer.record(tx, { type: 'vote.cast', body: { text: '\ud800' } })),
    ).rejects.toThrow('lone surrogate')
  })

  test('the gateway’s database user can record and cannot read bodies or change events', async () => {
    const gateway = openDatabase({ url: db.roleUrls.gateway, max: 2, application: 'test' })
    try {
      const writer = createAuditWriter({ database: gateway, process_id: 'prc_e' })
      const id = await gateway.db.transaction(tx => writer.record(tx, { ...event(1), session_id: 'ses_1' }))
      await expect(gateway.sql`select body from audit_inbox where id = ${id}`).rejects.toThrow('permission denied')
      await expect(gateway.sql`update audit_inbox set type = 'x' where id = ${id}`).rejects.toThrow('permission denied')
      await expect(gateway.sql`delete from audit_inbox where id = ${id}`).rejects.toThrow('permission denied')
    } finally {
      await gateway.close()
    }
  })
})
