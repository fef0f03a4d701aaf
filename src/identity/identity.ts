import { eq, lt, or, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Config } from '../config.ts'
import type { Database, Tx } from '../db/database.ts'
import { derive, type RootKey } from '../keys.ts'
import { logger } from '../log.ts'
import type { Secret } from '../secret.ts'
import { credentialReader } from './authenticate.ts'
import { commandLineSignIn } from './cli-sign-in.ts'
import { announceGroups, type Desk } from './desk.ts'
import type { Identity } from './door.ts'
import { Provider } from './provider.ts'
import { type Change, endOverdue, refreshGroups } from './refresh.ts'
import { apiTokens, refreshTokens, signIns, slackLinkCodes, subjects, webSessions } from './schema.ts'
import { webSignIn } from './sign-in.ts'
import { slackLinking } from './slack-linking.ts'
import { subjectKeeping } from './subject-keeping.ts'
import { findSubject } from './subjects.ts'
import { Throttle } from './throttle.ts'
import { tokenIssuing } from './token-issuing.ts'
import { defaultLifetimes, idleSince, type Lifetimes } from './web-sessions.ts'

const log = logger('identity')

export interface IdentityOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly config: Pick<Config, 'origin' | 'oidc'>
  readonly client_secret?: Secret | undefined
  /** Control's root key. */
  readonly root: RootKey
  readonly lifetimes?: Lifetimes | undefined
  readonly ports: IdentityPorts
}

/** What this room asks of the rooms above it. */
export interface IdentityPorts {
  /** Subjects with something live (a grant, a ticket, a session): their groups are kept fresh. */
  liveSubjects(): Promise<readonly string[]>
  /** Told in this process after the commit; other processes hear the notice `subjects` with the same id. */
  onGroupsChanged(subject_id: string): void
}

export function createIdentity(options: IdentityOptions): Identity {
  const { database, audit, config, root, ports } = options
  const desk: Desk = {
    database,
    audit,
    origin: config.origin,
    oidc: config.oidc,
    provider: new Provider({ settings: config.oidc, secret: options.client_secret, origin: config.origin }),
    lifetimes: options.lifetimes ?? defaultLifetimes,
    keys: {
      signIns: derive(root, 'sign-ins'),
      refreshTokens: derive(root, 'refresh-tokens'),
      links: derive(root, 'links'),
    },
    groupsChanged: ports.onGroupsChanged,
    report: reporter(database, audit),
  }
  return {
    ...webSignIn(desk),
    ...commandLineSignIn(desk),
    ...credentialReader(desk),
    ...tokenIssuing(desk),
    ...slackLinking(desk),
    subjectFacts: (id, tx) => findSubject(tx ?? database.db, id),
    refreshDue: async () => {
      const live = new Set([...(await ports.liveSubjects()), ...(await activeHere(desk))])
      return refreshGroups(database.db, refreshDeps(desk), [...live])
    },
    ...subjectKeeping(desk),
    sweep: async () => {
      await sweep(desk, await ports.liveSubjects())
      await endOverdue(database.db, refreshDeps(desk), desk.oidc.max_groups_age_s)
    },
  }
}

function refreshDeps(desk: Desk) {
  return {
    provider: desk.provider,
    key: desk.keys.refreshTokens,
    settings: desk.oidc,
    commit: async (id: string, run: (tx: Tx) => Promise<Change>) => {
      const changed = await desk.database.db.transaction(async tx => {
        // the person's row is locked first, as a sign-in does: the two cannot wait for each other
        await tx.select({ id: subjects.id }).from(subjects).where(eq(subjects.id, id)).for('update')
        const change = await run(tx)
        await announceGroups(desk, tx, id, change)
        return change.changed
      })
      if (changed) desk.groupsChanged(id)
    },
  }
}

/** People who can use the control plane itself: signed in and not idle, or with a token that is good. */
async function activeHere({ database, lifetimes }: Desk): Promise<string[]> {
  const idle = idleSince(sql`w.kind`, lifetimes)
  const rows = await database.db
    .select({ id: refreshTokens.subject_id })
    .from(refreshTokens)
    .where(
      sql`${refreshTokens.next_at} <= now() and (exists (
            select 1 from ${webSessions} w where w.subject_id = ${refreshTokens.subject_id}
              and w.expires_at > now() and w.seen_at > ${idle})
          or exists (${goodToken}))`,
    )
    .limit(1000)
  return rows.map(row => row.id)
}

/** A token of the person of the refresh token: while it is good, it is known from the identity provider whether they still are. */
const goodToken = sql`select 1 from ${apiTokens} t
  where t.subject_id = ${refreshTokens.subject_id} and t.revoked_at is null and t.expires_at > now()`

async function sweep({ database: { db }, lifetimes }: Desk, live: readonly string[]): Promise<void> {
  await db.delete(signIns).where(lt(signIns.expires_at, sql`now()`))
  await db.delete(slackLinkCodes).where(lt(slackLinkCodes.expires_at, sql`now() - interval '10 minutes'`))
  const idle = idleSince(sql`${webSessions.kind}`, lifetimes)
  await db.delete(webSessions).where(or(lt(webSessions.expires_at, sql`now()`), lt(webSessions.seen_at, idle)))
  // a refresh token of somebody with nothing live serves nobody but a thief
  await db.delete(refreshTokens).where(
    sql`${refreshTokens.refreshed_at} < now() - interval '1 day'
        and not ${refreshTokens.subject_id} = any(${sql.param([...live])}::text[])
        and not exists (select 1 from ${webSessions} w where w.subject_id = ${refreshTokens.subject_id})
        and not exists (${goodToken})`,
  )
}

function reporter(database: Database, audit: AuditWriter): Desk['report'] {
  const throttle = new Throttle({ limit: 120, window_ms: 60_000 })
  let left_out = 0
  return async event => {
    if (!throttle.take('')) {
      left_out++
      return
    }
    const body = left_out > 0 ? { ...event.body, left_out } : event.body
    left_out = 0
    try {
      await database.db.transaction(tx => audit.record(tx, { ...event, body }))
    } catch (error) {
      log.error({ type: event.type, err: error }, 'a refusal could not be written to the audit log')
    }
  }
}
