import { inArray } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { slackMessages } from './schema.ts'

/** What we kept of the messages about these requests, which retention deletes. Slack's own copies are Slack's. */
export async function forgetRequests(tx: Tx, requests: readonly string[]): Promise<void> {
  await tx.delete(slackMessages).where(inArray(slackMessages.request_id, [...requests]))
}
