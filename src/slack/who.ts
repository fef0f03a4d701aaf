import type { NewEvent } from '../audit/events.ts'
import type { SubjectFacts } from '../identity/facts.ts'
import { timeFacts } from '../policy/time.ts'
import { type Message, notice } from './blocks.ts'
import type { SlackDeps } from './deps.ts'
import type { Askable } from './modal.ts'

/** A Slack account. INVARIANT: it acts as whom (team, user) was bound to from the signed-in web page, and as nobody else. */
export interface Account {
  readonly team_id: string
  readonly user_id: string
}

export function linkFirst(origin: string): Message {
  return notice(
    `This Slack account is not linked to anybody. Sign in at ${origin}/link with your browser; the code you see there goes into Slack as: /access link CODE`,
  )
}

/** Writes down that somebody tried what they may not, and whom Slack says they are. */
export async function reportRefused(deps: SlackDeps, account: Account, body: NewEvent['body']): Promise<void> {
  await deps.database.db.transaction(tx =>
    deps.audit.record(tx, {
      type: 'slack.refused',
      body: { team_id: account.team_id, user_id: account.user_id, ...body },
    }),
  )
}

/** What this person may ask for, if policy lets them see it: the same question that the web UI's list asks. */
export async function askableBy(deps: SlackDeps, subject: SubjectFacts): Promise<Askable[] | string> {
  const { decision, permit } = deps.engine.decide('admin', {
    subject,
    call: 'resources.list',
    target: {},
    own: false,
    time: timeFacts(deps.now(), deps.zone),
  })
  await deps.decisions.insert(deps.database.db, decision)
  if (permit === null) return decision.reasons.map(r => r.message).join('; ') || `policy denied this (${decision.code})`
  return deps.resources
    .list()
    .map(({ name }) => ({ resource: name, roles: deps.resources.rolesOf(subject, name).map(r => r.role) }))
    .filter(askable => askable.roles.length > 0)
    .sort((a, b) => (a.resource < b.resource ? -1 : 1))
}
