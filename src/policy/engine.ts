import type { KeyObject } from 'node:crypto'
import { canonical, digest, type Json } from '../canonical.ts'
import { Generations } from '../generations.ts'
import { logger } from '../log.ts'
import { bundleDigest, type SignedBundle, unpackBundle } from './bundle.ts'
import type { PolicyData } from './data-schema.ts'
import type { Decision } from './decision.ts'
import { decisionId } from './decision-id.ts'
import { about as factsAbout } from './facts.ts'
import { type Answer, denied, type Ground, judge } from './judge.ts'
import type { DecisionCode, Input, Point } from './points.ts'
import { readQuestion, type Unjudgeable, withNeeds } from './question.ts'
import { verifyRevision } from './signing.ts'
import { timeFacts } from './time.ts'
import { Evaluator } from './wasm.ts'

const log = logger('policy')

/** Whom and what a question is about; what the input itself names wins over what the caller says. */
export interface About {
  readonly subject_id?: string | null | undefined
  readonly resource?: string | null | undefined
  readonly session_id?: string | null | undefined
  readonly request_id?: string | null | undefined
}

/** `permit` is there when the answer is allow, an ask whose votes suffice, or the data of a data point. */
export interface Decided<P extends Point = Point> {
  readonly decision: Decision<P>
  readonly permit: Permit | null
}

export interface ActiveRevision {
  readonly generation: number
  readonly commit: string
  readonly digest: string
  readonly activated_at_ms: number
  /** Of a recovery: nothing is decided by it after that (follower.ts). */
  readonly ends_at_ms?: number | undefined
}

export interface EngineOptions {
  /** Control's public key for revisions. */
  readonly key: KeyObject
  /** The database's clock. */
  readonly now: () => number
  /** IANA zone of `input.time`. */
  readonly zone: string
  /** Groups of a person older than this give no new access. */
  readonly max_groups_age_s: number
  /** The engine itself failed, not the question: somebody must be told. */
  readonly onFault?: (fault: { readonly point: Point; readonly code: DecisionCode; readonly message: string }) => void
}

let mint: (decision: Decision, named: { resource: string | null; role: string | null; call: string | null }) => Permit

/**
 * Proof of one allow. INVARIANT: `decide()` below is the only place where one is made; it never leaves its process.
 * Whoever takes a Permit calls `Permit.is` first, which no cast and no look-alike passes.
 */
export class Permit {
  readonly #decision: Decision
  readonly #named: { readonly resource: string | null; readonly role: string | null; readonly call: string | null }

  private constructor(
    decision: Decision,
    named: { resource: string | null; role: string | null; call: string | null },
  ) {
    this.#decision = decision
    this.#named = named
    Object.freeze(this)
  }

  static {
    mint = (decision, named) => new Permit(decision, named)
  }

  static is(value: unknown): value is Permit {
    return typeof value === 'object' && value !== null && #decision in value
  }

  get decision_id(): string {
    return this.#decision.id
  }
  get point(): Point {
    return this.#decision.point
  }
  get subject_id(): string | null {
    return this.#decision.about.subject_id
  }
  get session_id(): string | null {
    return this.#decision.about.session_id
  }
  get generation(): number | null {
    return this.#decision.generation
  }
  get resource(): string | null {
    return this.#named.resource
  }
  get role(): string | null {
    return this.#named.role
  }
  /** The call that `admin` allowed, the stage that `access` allowed; null at the other points. */
  get call(): string | null {
    return this.#named.call
  }
}

interface Loaded extends Ground {
  readonly revision: ActiveRevision
  readonly data: PolicyData
}

/** The one decision function, local to each process that enforces. It throws nothing: whatever goes wrong is a denial. */
export class Engine {
  readonly #options: EngineOptions
  readonly #cache = new Generations<Decided<'action'>>({ characters: 4 << 20 })
  readonly #switched = new Set<(revision: ActiveRevision) => void>()
  readonly #decided = new Set<(decision: Decision) => void>()
  #loaded: Loaded | null = null
  #stale: string | null = null
  #aged: string | null = null

  constructor(options: EngineOptions) {
    this.#options = options
  }

  get revision(): ActiveRevision | null {
    return this.#loaded?.revision ?? null
  }

  /** Resources and roles of the active revision; null before the first. */
  get data(): PolicyData | null {
    return this.#loaded?.data ?? null
  }

  /** Why nothing is decided although a revision is loaded: a newer one is active and not here. */
  get stale(): string | null {
    return this.#stale
  }

  /** Whether equal `action` inputs get equal answers under this revision: its policy needs no clock, literal or parameter. */
  get cachesActions(): boolean {
    return this.#loaded !== null && this.#loaded.meta.needs.length === 0
  }

  markStale(why: string | null): void {
    this.#stale = why
  }

  /** What is in force is older than the deployment allows: what was let in goes on, and nobody new is. */
  markAged(why: string | null): void {
    this.#aged = why
  }

  onSwitched(run: (revision: ActiveRevision) => void): Disposable {
    this.#switched.add(run)
    return { [Symbol.dispose]: () => this.#switched.delete(run) }
  }

  /**
   * Hears of each new decision, after it was made: nothing that is heard can change it. What was decided before is decided
   * anew when it is asked again, so that whoever begins to listen hears of what goes on and not of news alone.
   */
  onDecided(run: (decision: Decision) => void): Disposable {
    this.#decided.add(run)
    this.#cache.clear()
    return { [Symbol.dispose]: () => this.#decided.delete(run) }
  }

  /**
   * Takes a signed bundle into force between two decisions. The one before stays when this throws.
   * @throws Error for a bad signature, a digest that is not the bundle's, or a generation that is not higher.
   */
  load(signed: SignedBundle): void {
    const { generation, commit } = signed
    if (!verifyRevision(signed, signed.signature, this.#options.key)) {
      throw new Error(`revision ${generation} (${commit}) has no valid signature of the control plane`)
    }
    const current = this.#loaded?.revision.generation ?? 0
    if (generation <= current) throw new Error(`revision ${generation} is not newer than the active ${current}`)
    const bundle = unpackBundle(signed.bundle)
    if (bundleDigest(bundle) !== signed.digest)
      throw new Error(`revision ${generation} (${commit}) does not have the digest it was signed with`)
    const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json))
    const revision = Object.freeze({
      generation,
      commit,
      digest: signed.digest,
      activated_at_ms: signed.activated_at_ms,
      ...(signed.ends_at_ms === undefined ? {} : { ends_at_ms: signed.ends_at_ms }),
    })
    const { max_groups_age_s } = this.#options
    this.#loaded = { revision, evaluator, meta: bundle.meta, data: bundle.data, commit, max_groups_age_s }
    this.#stale = null
    this.#cache.clear()
    for (const run of this.#switched) {
      try {
        run(revision)
      } catch (error) {
        log.error({ err: error, generation }, 'something could not follow the switch to a new revision')
      }
    }
  }

  /** Answers one question. Repeated `action` questions of a session under one revision get the very same Decision. */
  decide<P extends Point>(point: P, input: Input<P>, about: About = {}): Decided<P> {
    const loaded = this.#loaded
    const question = loaded === null ? input : withNeeds(point, input, loaded.meta.needs, () => this.#time())
    const read = readQuestion(point, question)
    const session =
      point === 'action' && loaded !== null && loaded.meta.needs.length === 0 ? about.session_id : undefined
    if (!('key' in read)) return this.#answer(point, question, read, about, loaded)
    if (this.#stale !== null || !session) return this.#answer(point, question, read.text(), about, loaded)
    const key = `${session} ${read.key}`
    const found = this.#cache.get(key)
    if (found !== undefined) return found as unknown as Decided<P>
    const decided = this.#answer(point, question, read.text(), about, loaded)
    this.#cache.set(key, decided as unknown as Decided<'action'>)
    return decided
  }

  /** What is answered now, for whoever only wants to know: no Permit comes of it, and no Decision that anything could name. */
  weigh<P extends Point>(point: P, input: Input<P>): Answer<P> {
    const loaded = this.#loaded
    const question = loaded === null ? input : withNeeds(point, input, loaded.meta.needs, () => this.#time())
    const read = readQuestion(point, question)
    const text = 'key' in read ? read.text() : read
    return typeof text === 'string' ? this.#judge(point, question, text, loaded) : denied(text.code, text.message)
  }

  #time() {
    return timeFacts(this.#options.now(), this.#options.zone)
  }

  #answer<P extends Point>(
    point: P,
    input: Input<P>,
    text: string | Unjudgeable,
    about: About,
    loaded: Loaded | null,
  ): Decided<P> {
    const answer =
      typeof text === 'string' ? this.#judge(point, input, text, loaded) : denied<P>(text.code, text.message)
    const recorded = typeof text === 'string' ? text : 'null'
    const input_digest = digest(recorded)
    const facts = factsAbout(point, typeof text === 'string' ? input : null, about)
    const decision: Decision<P> = Object.freeze({
      id: decisionId(point, answer.code, loaded?.revision.generation ?? null, facts.about.session_id, input_digest),
      point,
      at_ms: this.#options.now(),
      effect: answer.effect,
      code: answer.code,
      reasons: answer.reasons,
      result: answer.result,
      generation: loaded?.revision.generation ?? null,
      commit: loaded?.revision.commit ?? null,
      digest: loaded?.revision.digest ?? null,
      input: recorded,
      input_digest,
      about: facts.about,
    })
    if (this.#decided.size > 0) this.#hear(decision as unknown as Decision)
    const allowed = decision.effect === 'allow' || decision.effect === 'data'
    return Object.freeze({ decision, permit: allowed ? mint(decision as unknown as Decision, facts.named) : null })
  }

  #hear(decision: Decision): void {
    for (const run of this.#decided) {
      try {
        run(decision)
      } catch (error) {
        log.error({ err: error }, 'something could not hear of a decision')
      }
    }
  }

  #judge<P extends Point>(point: P, input: Input<P>, text: string, loaded: Loaded | null): Answer<P> {
    if (loaded === null) return denied('policy_missing', 'no policy revision is active')
    if (this.#stale !== null) return denied('policy_stale', this.#stale)
    if (this.#aged !== null && point === 'access' && (input as Input<'access'>).stage !== 'live')
      return denied('policy_aged', this.#aged)
    const answer = judge(point, input, text, loaded)
    if (answer.fault !== undefined) this.#tell(point, answer.code, answer.fault)
    return answer
  }

  #tell(point: Point, code: DecisionCode, message: string): void {
    log.error({ point, code, generation: this.revision?.generation }, `policy failed: ${message}`)
    this.#options.onFault?.({ point, code, message })
  }
}
