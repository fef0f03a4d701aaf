import type { Approvals } from '../approvals/approvals.ts'
import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import type { Identity } from '../identity/door.ts'
import type { Logger } from '../log.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import type { Resources } from '../policy/resources.ts'
import type { Secret } from '../secret.ts'

/** What this room stands on; `main.ts` fills it. */
export interface SlackDeps {
  readonly signingSecret: Secret
  readonly botToken: Secret
  /** The only workspace that is listened to. */
  readonly teamId: string
  /** Slack's own where it is not given. */
  readonly apiUrl?: string | undefined
  /** Of the web UI: people are sent there to sign in and link their account. */
  readonly origin: string
  /** IANA zone in which instants are written. */
  readonly zone: string
  readonly database: Database
  readonly approvals: Pick<Approvals, 'ask' | 'vote' | 'answerReview'>
  readonly identity: Pick<Identity, 'bySlack' | 'slackOf' | 'bindSlack'>
  readonly resources: Pick<Resources, 'list' | 'rolesOf'>
  readonly engine: Pick<Engine, 'decide'>
  readonly decisions: Pick<DecisionLog, 'insert'>
  readonly audit: AuditWriter
  readonly logger: Logger
  /** The database's clock, in this process. */
  readonly now: () => number
}
