import { and, asc, eq, gt, sql } from 'drizzle-orm'
import { notify } from '../db/notices.ts'
import { type Desk, subjectsChannel } from './desk.ts'
import type { Identity, Refusal, SubjectRow } from './door.ts'
import { refreshTokens, subjects } from './schema.ts'
import { calledSo } from './subjects.ts'
import { endWebSessions } from './web-sessions.ts'

const refuse = (code: Refusal['code'], message: string): Refusal => ({ ok: false, code, message })

/**
 * Listing, disabling and enabling of people and machines. Whether the caller may is decided by the `admin` point before.
 * INVARIANT: whoever is disabled acts by nothing: `mayAct` is asked wherever a subject is read, so that sign-in, tokens,
 * Slack, requests, tickets and connections are refused, and what lives ends when it is decided again.
 */
export function subjectKeeping(desk: Desk): Pick<Identity, 'listSubjects' | 'subject' | 'setDisabled'> {
  const { database, audit } = desk
  return {
    listSubjects: async ({ name, limit, after }) => {
      const rows = await database.db
        .select()
        .from(subjects)
        .where(
          and(
            name === undefined ? undefined : calledSo(name),
            after === undefined ? undefined : gt(subjects.id, after),
          ),
        )
        .orderBy(asc(subjects.id))
        .limit(limit)
      return rows.map(shown)
    },

    subject: async id => {
      const [row] = await database.db.select().from(subjects).where(eq(subjects.id, id))
      return row === undefined ? null : shown(row)
    },

    setDisabled: async (caller, id, disabled, reason) => {
      if (disabled && [caller.facts.id, caller.facts.on_behalf_of].includes(id))
        return refuse('conflict', 'nobody disables themselves; ask another security admin')
      const outcome = await database.db.transaction(async tx => {
        const [row] = await tx.select().from(subjects).where(eq(subjects.id, id)).for('update')
        if (row === undefined || row.kind === 'system')
          return refuse('bad_request', 'there is no person or machine of this id')
        if ((row.disabled_at !== null) === disabled)
          return refuse('conflict', `${row.name} is ${disabled ? 'disabled already' : 'not disabled'}`)
        await tx
          .update(subjects)
          .set({ disabled_at: disabled ? sql`now()` : null })
          .where(eq(subjects.id, id))
        const sessions_ended = disabled && (await endWebSessions(tx, id))
        if (disabled) await tx.delete(refreshTokens).where(eq(refreshTokens.subject_id, id))
        await audit.record(tx, {
          type: disabled ? 'subject.disabled' : 'subject.enabled',
          body: {
            kind: row.kind,
            name: row.name,
            by: caller.facts.id,
            reason,
            sessions_ended: disabled ? sessions_ended : undefined,
          },
          subject_id: id,
        })
        await notify(tx, subjectsChannel, id)
        return { ok: true, name: row.name } as const
      })
      if (outcome.ok) desk.groupsChanged(id)
      return outcome
    },
  }
}

function shown(row: typeof subjects.$inferSelect): SubjectRow {
  const { id, kind, issuer, name, email, groups } = row
  return {
    id,
    kind,
    issuer,
    name,
    email,
    groups,
    created_at_ms: row.created_at.getTime(),
    disabled_at_ms: row.disabled_at?.getTime() ?? null,
    left_at_ms: row.left_at?.getTime() ?? null,
  }
}
