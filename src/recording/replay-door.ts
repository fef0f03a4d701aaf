import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import { type ErrorCode, errorCodes, SallyportError } from '../errors.ts'
import type { SubjectFacts } from '../identity/facts.ts'
import type { Decision } from '../policy/decision.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import { timeFacts } from '../policy/time.ts'
import type { CallFacts } from './calls.ts'
import { recordingFacts } from './facts.ts'
import type { RecordingRow } from './reader.ts'

export interface ReplayRequest {
  readonly call: CallFacts
  readonly session: string
  readonly follow: boolean
  readonly view: 'masked' | 'clear'
  readonly verb: 'open' | 'download' | 'export'
  readonly reason: string | null
}

export interface ReplayDoorOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly engine: Pick<Engine, 'decide'>
  readonly decisions: Pick<DecisionLog, 'insert'>
  /** Facts of a subject as they are now, from the database and not from the caller; null when unknown or disabled. */
  readonly subjectFacts: (id: string) => Promise<SubjectFacts | null>
  /** An API token as it is now; null when it was revoked or has expired. */
  readonly tokenFacts: (id: string) => Promise<SubjectFacts['token']>
  /** The database's clock, in this process. */
  readonly now: () => number
  readonly zone: string
  /** Whether this process holds an identity for the originals layer. */
  readonly opensOriginals: boolean
}

/** Decides `replay` in the process that holds the identity. What it decides is written down before anything is shown. */
export class ReplayDoor {
  readonly #options: ReplayDoorOptions

  constructor(options: ReplayDoorOptions) {
    this.#options = options
  }

  /**
   * @returns the decision that allows it. @throws SallyportError when policy refuses, or when neither the decision nor its
   * event could be written: both are refusals.
   */
  async open(row: RecordingRow, request: ReplayRequest): Promise<Decision<'replay'>> {
    const decision = await this.#decide(row, request)
    const refusal = refusalOf(row, request, decision) ?? this.#cannot(row, request)
    await this.#options.database.db.transaction(async tx => {
      await this.#options.decisions.insert(tx, decision)
      await this.#options.audit.record(tx, {
        type:
          refusal !== undefined
            ? 'replay.refused'
            : request.view === 'clear'
              ? 'replay.originals_opened'
              : 'replay.opened',
        body: {
          recording: row.id,
          decision: decision.id,
          verb: request.verb,
          view: request.view,
          follow: request.follow,
          reason: request.reason,
          via: request.call.via,
          token: request.call.token?.id,
          code: refusal?.code,
          recorded_subject: row.subject_id,
        },
        subject_id: request.call.subject_id,
        session_id: row.session_id,
        resource: row.resource,
      })
    })
    if (refusal !== undefined) throw refusal
    return decision
  }

  /**
   * Decides which recordings' texts this caller may find: those that they may open. What was shown is written down, with the
   * decisions that allowed it, before it is shown.
   */
  finding(call: CallFacts): Finding {
    const allowed = new Map<string, Decision<'replay'>>()
    let refused = 0
    const request = { call, session: '', follow: false, view: 'masked', verb: 'open', reason: null } as const
    const asker = this.#asker(call)
    return {
      sees: async row => {
        const decision = this.#ask(row, request, await asker)
        const opens = refusalOf(row, request, decision) === undefined
        if (opens) allowed.set(row.id, decision)
        else refused++
        return opens
      },
      shown: async (text, recordings) => {
        const decisions = [...new Set(recordings)].map(id => allowed.get(id)!)
        await this.#options.database.db.transaction(async tx => {
          for (const decision of decisions) await this.#options.decisions.insert(tx, decision)
          await this.#options.audit.record(tx, {
            type: 'replay.searched',
            body: {
              text: text.slice(0, 200).toWellFormed(),
              decisions: decisions.map(decision => decision.id),
              recordings: [...new Set(recordings)],
              refused,
              via: call.via,
              token: call.token?.id,
            },
            subject_id: call.subject_id,
          })
        })
      },
    }
  }

  /** Whether a replay that is under way may go on: groups, revision and subject may have changed. */
  async stillAllowed(row: RecordingRow, request: ReplayRequest): Promise<boolean> {
    const decision = await this.#decide(row, request).catch(() => undefined)
    if (decision === undefined || refusalOf(row, request, decision) === undefined) return decision !== undefined
    await this.#options.decisions.insert(this.#options.database.db, decision)
    return false
  }

  /** Why what policy allows cannot be shown. */
  #cannot(row: RecordingRow, { view }: ReplayRequest): SallyportError | undefined {
    if (view !== 'clear') return undefined
    if (row.settings['originals'] !== 'sealed')
      return new SallyportError(
        'unsupported',
        'this recording has no originals layer: policy did not ask to keep one',
        {
          remedy: 'ask for the masked view',
        },
      )
    if (this.#options.opensOriginals) return undefined
    return new SallyportError('bad_config', 'the replay process holds no identity for originals', {
      remedy: 'set recording.originals_identity where the replay role runs, or ask for the masked view',
    })
  }

  async #decide(row: RecordingRow, request: ReplayRequest): Promise<Decision<'replay'>> {
    return this.#ask(row, request, await this.#asker(request.call))
  }

  /** Who asks, as they are now. */
  async #asker({ subject_id, on_behalf_of, token: held }: CallFacts): Promise<SubjectFacts> {
    const facts = await this.#options.subjectFacts(subject_id)
    if (facts === null) throw new SallyportError('unauthenticated', 'the subject of this call is unknown or disabled')
    const token = held === null ? null : await this.#options.tokenFacts(held.id)
    if (held !== null && token === null)
      throw new SallyportError('unauthenticated', 'the API token of this call was revoked or has expired')
    return { ...facts, on_behalf_of, token }
  }

  #ask(row: RecordingRow, { verb, view, reason }: ReplayRequest, subject: SubjectFacts): Decision<'replay'> {
    const own = row.subject_id === subject.id
    const time = timeFacts(this.#options.now(), this.#options.zone)
    const input = { subject, recording: recordingFacts(row), own, verb, view, reason, time }
    return this.#options.engine.decide('replay', input, { session_id: row.session_id }).decision
  }
}

export interface Finding {
  readonly sees: (row: RecordingRow) => Promise<boolean>
  /** @param recordings of the hits. @throws when it cannot be written: then nothing is shown. */
  readonly shown: (text: string, recordings: readonly string[]) => Promise<void>
}

function refusalOf(
  row: RecordingRow,
  request: ReplayRequest,
  decision: Decision<'replay'>,
): SallyportError | undefined {
  const told = decision.reasons.find(reason => reason.remedy !== undefined) ?? decision.reasons[0]
  const facts = { rule: told?.rule, at: told?.at, decision_id: decision.id }
  const refuse = (code: ErrorCode, message: string, remedy?: string) =>
    new SallyportError(code, message, { remedy: remedy ?? errorCodes[code].remedy, facts })
  if (decision.effect !== 'allow' || decision.result === null) {
    const message = decision.reasons.map(reason => reason.message).join('; ')
    return refuse('policy_denied', message || `policy denied this replay (${decision.code})`, told?.remedy)
  }
  if (request.view === 'clear' && decision.result.view !== 'clear')
    return refuse('policy_denied', 'policy allows the masked view only', 'ask for the masked view')
  if (row.state === 'deleted')
    return refuse('gone', `the recording of session ${row.session_id} was deleted`, 'its receipt says under which rule')
  return undefined
}
