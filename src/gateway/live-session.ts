import type { Permit } from '../policy/permit.ts'
import type { MaskRule, RecordingSettings, ResourceFacts, SubjectFacts } from '../policy/points.ts'
import type { SessionRecorder } from '../recording/recorder.ts'
import type { EndCode } from '../sessions/ports.ts'
import type { ConnectionGate } from './connection-gate.ts'
import { type ModerationTerms, SessionModeration } from './moderation/moderation.ts'
import type { LeasePlan, Minted, Refusal, Resource } from './protocol.ts'
import { Turn } from './turn.ts'

/** A connection of a live session, as far as ending it goes. */
export interface LiveConnection {
  readonly id: string
  readonly gate: ConnectionGate
  readonly ended: AbortController
}

export interface LiveSessionOptions {
  readonly id: string
  readonly resource: Resource
  readonly about: { readonly subject: SubjectFacts; readonly resource: ResourceFacts; readonly role: string }
  readonly settings: RecordingSettings
  readonly rules: readonly MaskRule[]
  readonly maskKey: Buffer
  readonly moderation: ModerationTerms
  /** Called once, when the session must end for a reason that arose here. */
  readonly onEnd: (session: LiveSession, code: EndCode, refusal: Refusal) => void
}

/** A session as this process serves it: its facts fixed at connect, its recorder, its credential, its connections. */
export class LiveSession {
  readonly #options: LiveSessionOptions
  readonly connections = new Map<string, LiveConnection>()
  readonly turn = new Turn(this)
  recorder: SessionRecorder | null = null
  minted: Minted | null = null
  /** Until when the credential is good, and what moves that. */
  lease: { readonly permit: Permit; readonly facts: LeasePlan['facts']; until_ms: number } | null = null
  /** Database time. */
  ends_at_ms = 0
  #rules: readonly MaskRule[]
  #rulesText: string
  #ended: Refusal | null = null
  readonly moderation: SessionModeration

  constructor(options: LiveSessionOptions) {
    this.#options = options
    this.#rules = options.rules
    this.moderation = new SessionModeration(options.id, options.moderation)
    this.#rulesText = JSON.stringify(options.rules)
  }

  get id(): string {
    return this.#options.id
  }
  get resource(): Resource {
    return this.#options.resource
  }
  get about(): LiveSessionOptions['about'] {
    return this.#options.about
  }
  get settings(): RecordingSettings {
    return this.#options.settings
  }
  get maskKey(): Buffer {
    return this.#options.maskKey
  }
  get rules(): readonly MaskRule[] {
    return this.#rules
  }
  get isEnded(): boolean {
    return this.#ended !== null
  }
  get refusal(): Refusal | null {
    return this.#ended
  }

  /** INVARIANT: no recorder, no session. Always false, for the commit that failed. */
  lostRecorder(reason: string): false {
    this.end('recording', {
      code: 'recording_unavailable',
      message: `the session ended because it can no longer be recorded: ${reason}`,
      remedy: 'tell the operator of the gateway, then connect again',
      decision_id: null,
    })
    return false
  }

  /** Who watches from now on stands in the recording too. */
  recordModeration(state: 'watched' | 'waiting', by: readonly string[]): void {
    try {
      this.recorder?.append([{ conn: '', kind: 'moderation', body: { state, by: [...by] } }])
    } catch (error) {
      this.lostRecorder((error as Error).message)
    }
  }

  /** Ends it here, once; `onEnd` tells the database. */
  end(code: EndCode, why: Omit<Refusal, 'refused'>): void {
    if (!this.#close(why)) return
    this.#options.onEnd(this, code, { refused: true, ...why })
  }

  /** It has ended elsewhere, and the database knows; or only this process stops serving it. */
  ended(why: Omit<Refusal, 'refused'>): void {
    this.#close(why)
  }

  /** Rules of a new revision. @returns why a connection cannot carry them out. */
  async newRules(rules: readonly MaskRule[]): Promise<string | undefined> {
    const text = JSON.stringify(rules)
    if (text === this.#rulesText) return undefined
    this.#rules = rules
    this.#rulesText = text
    for (const { gate } of this.connections.values()) {
      const why = await gate.refit()
      if (why !== undefined) return why
    }
    return undefined
  }

  #close(why: Omit<Refusal, 'refused'>): boolean {
    if (this.#ended !== null) return false
    this.#ended = { refused: true, ...why }
    for (const { ended } of this.connections.values()) ended.abort(this.#ended)
    return true
  }
}
