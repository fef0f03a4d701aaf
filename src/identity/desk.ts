import type { AuditWriter, NewEvent } from '../audit/events.ts'
import type { Config } from '../config.ts'
import type { Database, Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import type { DerivedKey } from '../keys.ts'
import type { Provider } from './provider.ts'
import type { Change } from './refresh.ts'
import type { Lifetimes } from './web-sessions.ts'

/** What the parts of this room share. */
export interface Desk {
  readonly database: Database
  readonly audit: AuditWriter
  readonly origin: string
  readonly oidc: Config['oidc']
  readonly provider: Provider
  readonly lifetimes: Lifetimes
  readonly keys: Record<'signIns' | 'refreshTokens' | 'links', DerivedKey>
  readonly groupsChanged: (subject_id: string) => void
  /** Writes an event that no act depends on. Floods are cut: what was left out is counted in the next one. */
  readonly report: (event: NewEvent) => Promise<void>
}

/** The channel on which every process hears whose groups have changed. */
export const subjectsChannel = 'subjects'

/** Announces a change of groups with the transaction's commit. */
export async function announceGroups(desk: Desk, tx: Tx, id: string, change: Change): Promise<void> {
  if (!change.changed) return
  const { why, groups, sessions_ended } = change
  await desk.audit.record(tx, { type: 'groups.changed', body: { why, groups, sessions_ended }, subject_id: id })
  await notify(tx, subjectsChannel, id)
}
