import { requestHash, type WhatIsAsked, type WhatIsHeld } from '../approvals/bounds.ts'
import { leafHash, verifyInclusion } from '../audit/merkle.ts'
import { digest } from '../canonical.ts'
import { derivedDecisionId } from '../policy/decision-id.ts'
import type { StoredDecision } from '../policy/log/decision-filter.ts'
import { decisionLeaf } from '../policy/log/decision-leaf.ts'
import type { DecisionLine } from './decision-lines.ts'
import type { Findings } from './findings.ts'
import type { LogCheck, ProvedEvent } from './verify-log.ts'

type Fact = Readonly<Record<string, unknown>>

/** Rows of a bundle against what the log says of them: each in words, and each event in a row. */
export class FactCheck {
  readonly #log: LogCheck
  readonly #found: Findings
  readonly #revisions = new Map<number, Fact>()
  readonly counts = { requests: 0, votes: 0, sessions: 0, decisions: 0, hidden: 0, waiting: 0, unsaid: 0, reworded: 0 }

  constructor(log: LogCheck, found: Findings) {
    this.#log = log
    this.#found = found
  }

  request(row: Fact): void {
    this.counts.requests++
    const name = `request ${String(row['id'])}`
    const { id, subject_id, on_behalf_of, resource, role, duration_s, reason, ticket_ref } =
      row as unknown as WhatIsAsked
    const asked = { id, subject_id, on_behalf_of, resource, role, duration_s, reason, ticket_ref }
    const held = row['held'] as (WhatIsHeld & Fact) | null | undefined
    // Erased words cannot be hashed again; where no event was erased either, nobody erased any.
    if (reason === '[erased]' && !this.#log.whole) this.counts.reworded++
    else if (requestHash({ ...asked, held: held ?? null }) !== row['hash'])
      this.#found.flaw(`${name}: what was asked is NOT what its hash and its votes bind`)
    if (held) {
      const { session_id, connection_id } = held
      const said = {
        request_id: id,
        session_id,
        connection_id,
        role,
        on_behalf_of,
        title: reason,
        subject_id,
        resource,
      }
      this.#same(name, 'action.held', id, said)
    } else this.#same(name, 'request.created', id, { ...asked, id: undefined, request_id: id })
    const votes = row['votes'] as readonly Fact[]
    for (const vote of votes) this.#vote(name, row, vote)
    for (const cast of this.#log.about(id, 'vote.cast'))
      if (!votes.some(vote => vote['id'] === cast.body?.['vote_id']))
        this.#found.flaw(`${name}: the log has a vote (${cast.id}) that is not shown`)
    this.#grant(name, id, row['grant'] as Fact | null)
    const ends = {
      approved: 'request.approved',
      denied: 'request.denied',
      expired: 'request.expired',
      cancelled: 'request.cancelled',
    }
    const ended = this.#log.about(id, ...Object.values(ends)).at(-1)
    const state = ended === undefined ? 'pending' : Object.entries(ends).find(([, type]) => type === ended.type)![0]
    // One that policy granted at once has no event of an approval besides that of its grant.
    if (row['state'] !== state && !(row['state'] === 'approved' && row['grant'] !== null) && this.#log.whole)
      this.#found.flaw(`${name} is shown as ${String(row['state'])}, but the log says ${state}`)
  }

  #vote(name: string, request: Fact, vote: Fact): void {
    this.counts.votes++
    const id = String(vote['id'])
    const { request_id, request_hash, requester_id, approver_id, stage, answer, via, decision_id } = vote
    this.#same(`${name}, vote ${id}`, 'vote.cast', id, {
      request_id,
      request_hash,
      requester_id,
      approver_id,
      stage,
      answer,
      via,
      decision_id,
    })
    if (request_hash !== request['hash']) this.#found.flaw(`${name}, vote ${id}: it was cast on something else`)
    if (approver_id === request['subject_id']) this.#found.flaw(`${name}, vote ${id}: it is the requester's own`)
  }

  #grant(name: string, requestId: string, grant: Fact | null): void {
    const started = this.#log.about(requestId, 'grant.started')
    if (grant === null) {
      if (started.length > 0) this.#found.flaw(`${name}: the log has a grant (${started[0]!.id}) that is not shown`)
      return
    }
    const id = String(grant['id'])
    const { request_id, role, starts_at_ms, ends_at_ms, subject_id, resource } = grant
    this.#same(`${name}, grant ${id}`, 'grant.started', id, {
      request_id,
      role,
      starts_at_ms,
      ends_at_ms,
      subject_id,
      resource,
    })
    const revoked = this.#log.about(id, 'grant.revoked').at(-1)
    if ((revoked === undefined) !== (grant['revoked_at_ms'] === null) && this.#log.whole)
      this.#found.flaw(`${name}, grant ${id}: whether it was revoked is NOT what the log says`)
    if (revoked?.body && revoked.body['reason'] !== grant['revoke_reason'])
      this.#found.flaw(`${name}, grant ${id}: it was NOT revoked for the reason that is shown`)
  }

  session(row: Fact): void {
    this.counts.sessions++
    const id = String(row['id'])
    const { ticket_id, role, protocol, subject_id, resource } = row
    this.#same(`session ${id}`, 'session.opened', id, { ticket_id, role, protocol, subject_id, resource })
    const ended = this.#log.about(id, 'session.ended').at(-1)
    if ((ended === undefined) !== (row['ended_at_ms'] === null) && this.#log.whole)
      this.#found.flaw(`session ${id}: whether it ended is NOT what the log says`)
    if (ended?.body && (ended.body['code'] !== row['end_code'] || ended.body['reason'] !== row['end_reason']))
      this.#found.flaw(`session ${id} did NOT end as it is shown`)
    const opened = new Set(this.#log.about(id, 'connection.opened').map(event => event.body?.['connection_id']))
    for (const one of row['connections'] as readonly Fact[])
      if (!opened.has(one['id']) && this.#log.whole)
        this.#found.flaw(`session ${id}: no event says that connection ${String(one['id'])} was opened`)
  }

  revision(row: Fact, name: string): void {
    const generation = row['generation'] as number
    this.#revisions.set(generation, row)
    const event = this.#log.activated(generation)
    if (event?.body == null) return void this.counts.unsaid++
    for (const member of ['commit', 'digest'])
      if (event.body[member] !== row[member])
        this.#found.flaw(`${name}: its ${member} is NOT that of the revision that came into force`)
  }

  decision({ decision, batch, unproved }: DecisionLine, where: string): void {
    this.counts.decisions++
    const name = `${where}: decision ${decision.id}`
    if (batch === null) {
      if (unproved === null) this.#found.flaw(`${name} has neither a place in the log nor a reason why not`)
      this.counts.waiting++
    } else {
      const said = this.#log.get(batch.event)
      const path = batch.path.map(hash => Buffer.from(hash, 'hex'))
      const root = Buffer.from(String(said?.body?.['root'] ?? ''), 'hex')
      const leaf = leafHash(decisionLeaf(decision as StoredDecision))
      if (said === undefined && !this.#log.given) this.counts.waiting++
      else if (said === undefined)
        this.#found.flaw(`${name} names the event ${batch.event}, which is not in this bundle`)
      else if (
        said.type !== 'decisions.batch' ||
        said.body?.['count'] !== batch.size ||
        !verifyInclusion(leaf, batch.index, batch.size, path, root)
      )
        this.#found.flaw(`${name} is NOT what the audit log holds: it was changed after it was written down`)
    }
    const hidden = [...decision.erased, ...decision.masked].some(path => /^\/input(\/|$)/.test(path))
    if (hidden) this.counts.hidden++
    else if (
      digest(decision.input) !== decision.input_digest &&
      !/^(?:input_invalid|input_too_large)$/.test(decision.code)
    )
      this.#found.flaw(`${name}: its input is NOT the one that was judged`)
    const { point, code, generation, session_id, input_digest } = decision
    const derived = derivedDecisionId(point, code, generation, session_id, input_digest)
    if (derived !== undefined && derived !== decision.id)
      this.#found.flaw(`${name}: its id does NOT follow from what was asked`)
    const revision = generation === null ? undefined : this.#revisions.get(generation)
    if (generation !== null && (revision?.['commit'] !== decision.commit || revision?.['digest'] !== decision.digest))
      this.#found.flaw(`${name} names a revision that is not the one in this bundle`)
  }

  /** Each of these members must be what the event says; an event that was erased says nothing. */
  #same(name: string, type: string, id: string, members: Fact): void {
    const event: ProvedEvent | undefined = this.#log.about(id, type)[0]
    if (event?.body == null) {
      if (this.#log.whole) this.#found.flaw(`${name}: the log has no event ${type} of it`)
      else this.counts.unsaid++
      return
    }
    for (const [member, value] of Object.entries(members)) {
      if (value === undefined) continue
      const said = event.body[member] ?? null
      if (said !== value)
        this.#found.flaw(
          `${name}: ${member} is shown as ${JSON.stringify(value)}, but the log says ${JSON.stringify(said)}`,
        )
    }
  }
}
