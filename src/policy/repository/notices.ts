import { createHash } from 'node:crypto'
import { eq, sql } from 'drizzle-orm'
import type { Database, Tx } from '../../db/database.ts'
import { newId } from '../../ids.ts'
import { logger } from '../../log.ts'
import { policyNotices } from '../schema.ts'

const log = logger('policy')
const maxMessage = 2_800
const maxWait_s = 300
const maxAttempts = 300 // a day of tries
const claim_s = 60
const page = 10

/** Carries a message to where people read it: the policy channel of Slack. */
export type Tell = (message: string) => Promise<void>

/** Writes down what people are to be told, in the transaction that does it. The same `key` is told once. */
export async function notice(tx: Tx, key: string, message: string): Promise<void> {
  await tx
    .insert(policyNotices)
    .values({
      id: newId('evt'),
      key: createHash('sha256').update(key).digest('hex'),
      message: message.length > maxMessage ? `${message.slice(0, maxMessage)} …` : message,
    })
    .onConflictDoNothing()
}

/** Delivers what is due, oldest first; a notice that cannot be delivered waits longer each time, and none waits for it. */
export async function deliverNotices({ db }: Database, tell: Tell): Promise<void> {
  const due = db
    .select({ id: policyNotices.id })
    .from(policyNotices)
    .where(
      sql`${policyNotices.delivered_at} is null and ${policyNotices.next_try_at} <= now() and ${policyNotices.attempts} < ${maxAttempts}`,
    )
    .orderBy(policyNotices.at)
    .limit(page)
    .for('update', { skipLocked: true })
  const rows = await db
    .update(policyNotices)
    .set({ next_try_at: sql`now() + make_interval(secs => ${claim_s})` })
    .where(sql`${policyNotices.id} in (${due})`)
    .returning()
  for (const row of rows.sort((a, b) => a.at.getTime() - b.at.getTime())) {
    try {
      await tell(row.message)
      await db
        .update(policyNotices)
        .set({ delivered_at: sql`now()`, last_error: null })
        .where(eq(policyNotices.id, row.id))
    } catch (error) {
      const wait_s = Math.min(2 ** (row.attempts + 1), maxWait_s)
      const why = (error as Error).message.slice(0, 300)
      log.warn({ why, wait_s }, 'the policy channel could not be told; it is tried again')
      await db
        .update(policyNotices)
        .set({
          attempts: row.attempts + 1,
          last_error: why,
          next_try_at: sql`now() + make_interval(secs => ${wait_s})`,
        })
        .where(eq(policyNotices.id, row.id))
    }
  }
}

/** Forgets what was told, or given up, a month ago. */
export async function pruneNotices({ db }: Database): Promise<void> {
  await db.delete(policyNotices).where(sql`${policyNotices.at} < now() - interval '30 days'`)
}
