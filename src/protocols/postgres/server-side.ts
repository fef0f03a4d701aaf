import { type Conversation, idle } from './conversation.ts'
import { type Described, Descriptions, maskFor } from './descriptions.ts'
import type { FrameSink } from './frames.ts'
import { Body, BodyError, decodeError, encodeError, frame, S } from './messages.ts'
import { Onward } from './onward.ts'
import { type Expected, Owed, type Running, undo, undoStatements } from './pending.ts'
import { ResultRecord } from './results.ts'
import type { RowMask, Statement } from './sql/contract.ts'

export interface ServerPorts {
  /** Fields of errors and notices, scrubbed where masked relations exist. */
  readonly scrub: (fields: Map<string, string>) => ReadonlyMap<string, string>
  /** A setting was reported. @returns why the connection must end. */
  readonly reported: (name: string, value: string) => string | undefined
}

/**
 * Reads what the target says, attributes it to what was asked, masks, records, passes on. Anything out of turn ends the
 * connection: it could be another statement's rows.
 */
export class ServerSide implements FrameSink {
  readonly #c: Conversation
  readonly #ports: ServerPorts
  readonly #descriptions = new Descriptions()
  readonly #onward: Onward
  /** Whether search_path went back to where it began since the last ReadyForQuery; uncertain with a transaction's own words in between. */
  #goneBack: 'no' | 'yes' | 'uncertain' = 'no'

  constructor(conversation: Conversation, ports: ServerPorts) {
    this.#c = conversation
    this.#onward = new Onward(conversation)
    this.#ports = ports
  }

  streams(type: number): boolean {
    if (type === S.copyData) return true
    const { head } = this.#c.pending
    if (type !== S.dataRow || head === undefined) return false
    const result = head.result ?? (head.kind === Owed.execute ? this.#begin(head) : null)
    return result !== null && result.mask === null && !result.collecting && this.#mayPass()
  }

  piece(type: number, buffer: Buffer, start: number, end: number, first: boolean): void {
    if (first && type === S.dataRow) this.#c.pending.head!.result!.count++
    const { head } = this.#c.pending
    if (head !== undefined && head.result !== null) head.result.bytes += end - start
    this.#onward.pass(buffer, start, end)
  }

  drained(): void {
    this.#onward.flush()
  }

  frame(type: number, buffer: Buffer, start: number, end: number): boolean {
    if (this.#c.fault !== null) return true
    try {
      this.#read(type, buffer, start, end)
    } catch (error) {
      // Malformed answers, and rows that a mask cannot read: nothing of them goes on.
      this.#c.fail('08P01', `the target sent what could not be read: ${(error as Error).message}`)
    }
    return true
  }

  #read(type: number, buffer: Buffer, start: number, end: number): undefined {
    const c = this.#c
    const head = c.pending.head
    switch (type) {
      case S.dataRow:
        return this.#row(head, buffer, start, end)
      case S.copyData:
        if (head?.result) head.result.bytes += end - start
        return this.#onward.pass(buffer, start, end)
      case S.readyForQuery:
        return this.#ready(head, buffer, start, end)
      case S.commandComplete:
        this.#complete(head, buffer.toString('latin1', start + 5, end - 1))
        return this.#onward.pass(buffer, start, end)
      case S.rowDescription:
        return this.#description(head, buffer, start, end)
      case S.parseComplete:
        return this.#step(head, Owed.parse, buffer, start, end)
      case S.bindComplete:
        return this.#step(head, Owed.bind, buffer, start, end)
      case S.closeComplete:
        return this.#step(head, Owed.close, buffer, start, end)
      case S.noData:
        return this.#noData(head, buffer, start, end)
      case S.parameterDescription:
        if (head?.kind !== Owed.describeStatement) return this.#outOfTurn(type)
        return this.#onward.pass(buffer, start, end)
      case S.emptyQuery:
      case S.portalSuspended:
        return this.#withoutTag(head, type, buffer, start, end)
      case S.error:
        return this.#error(head, buffer, start, end)
      case S.notice:
        return this.#notice(buffer, start, end)
      case S.parameterStatus:
        return this.#parameter(buffer, start, end)
      case S.notification:
        return this.#notification(buffer, start, end)
      case S.copyIn:
      case S.copyOut:
        return this.#copyBegins(head, type, buffer, start, end)
      case S.copyDone:
        return this.#onward.pass(buffer, start, end)
      default:
        return this.#outOfTurn(type)
    }
  }

  #row(head: Expected | undefined, buffer: Buffer, start: number, end: number): undefined {
    if (head === undefined) return this.#outOfTurn(S.dataRow)
    const result = head.result ?? (head.kind === Owed.execute ? this.#begin(head) : null)
    if (result === null) return this.#outOfTurn(S.dataRow)
    if (result.mask === null && !this.#mayPass()) return this.#outOfTurn(S.dataRow)
    result.count++
    result.bytes += end - start
    if (result.mask === null) {
      if (result.collecting) result.collect(buffer, start + 5, end)
      return this.#onward.pass(buffer, start, end)
    }
    this.#onward.maskRow(result.mask, buffer, start, end)
    if (result.collecting) this.#onward.collectRow(result)
  }

  /** INVARIANT: rows of a statement that touches masked relations pass only with a description that was held against the plan. */
  #mayPass(): boolean {
    const { head } = this.#c.pending
    const running = head?.running[head.index]
    if (running === undefined) return false
    return !running.judgement.describe || head!.result!.described !== null
  }

  /** Rows of an Execute: described before, by the client or by us, or not at all where nothing is masked. */
  #begin(head: Expected): ResultRecord {
    const portal = head.portal!
    const result = new ResultRecord(this.#c.gate, portal.formats)
    const { description } = portal
    if (description !== null) {
      const fresh = description.plan === this.#c.judge.plan
      const { described, mask } = description
      result.describe(described, fresh ? mask : this.#maskOf(head.running[0], described, portal.formats))
    }
    head.result = result
    return result
  }

  #maskOf(running: Running | undefined, described: Described, formats: readonly number[]): RowMask | null {
    return running === undefined ? null : maskFor(described, this.#c.judge.plan, running.judgement, formats)
  }

  #description(head: Expected | undefined, buffer: Buffer, start: number, end: number): undefined {
    const c = this.#c
    if (head === undefined) return this.#outOfTurn(S.rowDescription)
    if (head.kind === Owed.query) {
      const running = head.running[head.index]
      const described = this.#descriptions.read(running?.statement ?? null, buffer, start, end)
      head.result = new ResultRecord(c.gate, described.formats)
      head.result.describe(described, this.#maskOf(running, described, described.formats))
      return this.#onward.pass(buffer, start, end)
    }
    if (head.kind === Owed.describePortal) {
      const portal = head.portal!
      const { statement } = portal.prepared
      const { plan } = c.judge
      const described = this.#descriptions.read(statement, buffer, start, end)
      const judgement = statement === null ? null : plan.judge(statement)
      const mask = judgement?.ok ? maskFor(described, plan, judgement, portal.formats) : null
      portal.description = { plan, described, mask }
    } else if (head.kind !== Owed.describeStatement) return this.#outOfTurn(S.rowDescription)
    c.pending.shift()
    if (!head.hidden) this.#onward.pass(buffer, start, end)
    else this.#onward.flush()
  }

  #noData(head: Expected | undefined, buffer: Buffer, start: number, end: number): undefined {
    if (head?.kind !== Owed.describePortal && head?.kind !== Owed.describeStatement) return this.#outOfTurn(S.noData)
    this.#c.pending.shift()
    if (!head.hidden) this.#onward.pass(buffer, start, end)
    else this.#onward.flush()
  }

  #step(head: Expected | undefined, kind: number, buffer: Buffer, start: number, end: number): undefined {
    if (head?.kind !== kind) return this.#outOfTurn(buffer[start]!)
    head.change?.confirm()
    this.#c.pending.shift()
    this.#onward.pass(buffer, start, end)
  }

  #complete(head: Expected | undefined, tag: string): undefined {
    const c = this.#c
    if (head === undefined || (head.kind !== Owed.query && head.kind !== Owed.execute))
      return this.#outOfTurn(S.commandComplete)
    const running = head.running[head.index]
    const result = head.result ?? new ResultRecord(c.gate, [])
    result.finish(tag)
    if (running?.statement.changesCatalog) c.judge.catalogChanged()
    if (running !== undefined) this.#completed(head, running.statement)
    head.changes?.[head.index]?.confirm()
    head.result = null
    if (head.kind === Owed.execute) c.pending.shift()
    else head.index++
  }

  #completed(head: Expected, { control, path }: Statement): void {
    const { judge } = this.#c
    if (control.kind === 'close' && this.#isLast(head)) judge.closed(control.name)
    if (control.kind === 'discard' && control.all && this.#isLast(head)) judge.discarded()
    if (control.kind === 'transaction') this.#goneBack = 'uncertain'
    if (path !== null && this.#goneBack !== 'uncertain') this.#goneBack = path === 'initial' ? 'yes' : 'no'
  }

  /** Nothing that runs a statement is under way behind what the head runs now. */
  #isLast(head: Expected): boolean {
    const { pending } = this.#c
    return (
      head.index === head.running.length - 1 &&
      pending.length <= 2 &&
      [...pending].every(e => e === head || e.kind === Owed.sync)
    )
  }

  #withoutTag(head: Expected | undefined, type: number, buffer: Buffer, start: number, end: number): undefined {
    if (head === undefined || (head.kind !== Owed.query && head.kind !== Owed.execute)) return this.#outOfTurn(type)
    if (type === S.portalSuspended) (head.result ?? new ResultRecord(this.#c.gate, [])).finish('suspended')
    head.result = null
    if (head.kind === Owed.execute) this.#c.pending.shift()
    this.#onward.pass(buffer, start, end)
  }

  #copyBegins(head: Expected | undefined, type: number, buffer: Buffer, start: number, end: number): undefined {
    const c = this.#c
    if (head === undefined || (head.kind !== Owed.query && head.kind !== Owed.execute)) return this.#outOfTurn(type)
    const control = head.running[head.index]?.statement.control
    const direction = type === S.copyIn ? 'in' : 'out'
    if (control?.kind !== 'copy' || control.direction !== direction) return this.#outOfTurn(type)
    head.result = new ResultRecord(c.gate, [])
    if (type === S.copyIn && c.copyOwed === head) {
      if (c.copyIn === 'expected') c.copyIn = 'active'
      c.pending.dropIgnoredSyncs()
    }
    this.#onward.pass(buffer, start, end)
  }

  #error(head: Expected | undefined, buffer: Buffer, start: number, end: number): undefined {
    const c = this.#c
    const kind = head?.kind
    if (head !== undefined && (kind === Owed.refusal || kind === Owed.refusedQuery)) {
      this.#onward.replace(head.error!)
    } else {
      const told = decodeError(buffer, start, end)
      const fields = this.#ports.scrub(told)
      c.gate.record('error', { sqlstate: fields.get('C') ?? 'XX000', message: fields.get('M') ?? '' })
      if (fields.has('C')) this.#onward.replace(encodeError(S.error, fields))
      else this.#onward.replace(encodeError(S.error, new Map([...fields, ['C', 'XX000']]))) // PG10
    }
    if (head === undefined) return
    this.#goneBack = 'uncertain'
    head.result?.finish('error')
    head.result = null
    if (kind === Owed.query || kind === Owed.refusedQuery) {
      undoStatements(head)
      if (c.copyOwed === head) this.#endCopy()
      return
    }
    if (kind === Owed.sync) return // its transaction failed to commit: ReadyForQuery still comes
    const { dropped, synced } = c.pending.skipToSync()
    if (c.copyOwed !== null && dropped.includes(c.copyOwed)) this.#endCopy()
    undo(dropped)
    if (!synced) c.skipping = true
  }

  #endCopy(): void {
    this.#c.copyIn = 'none'
    this.#c.copyOwed = null
  }

  #ready(head: Expected | undefined, buffer: Buffer, start: number, end: number): undefined {
    const c = this.#c
    if (end - start !== 6 || head === undefined) return this.#outOfTurn(S.readyForQuery)
    if (head.kind !== Owed.query && head.kind !== Owed.sync && head.kind !== Owed.refusedQuery) {
      return this.#outOfTurn(S.readyForQuery)
    }
    head.change?.confirm()
    head.changeToo?.confirm()
    if (c.copyOwed === head) this.#endCopy()
    c.pending.shift()
    const before = c.status
    c.status = buffer[start + 5]!
    if (c.status === idle) {
      if (before === idle && this.#goneBack === 'yes' && c.pending.length === 0) c.judge.path.restored()
      c.portals.forgetCertain(portal => portal.cursor?.held === true)
      if (c.pending.length === 0) c.judge.settled()
    }
    this.#goneBack = 'no'
    this.#onward.pass(buffer, start, end)
  }

  #notice(buffer: Buffer, start: number, end: number): undefined {
    const fields = this.#ports.scrub(decodeError(buffer, start, end))
    this.#c.gate.record('notice', { sqlstate: fields.get('C') ?? '', message: fields.get('M') ?? '' })
    this.#onward.replace(encodeError(S.notice, fields))
  }

  /** What others notify may hold any value (MK10): where masks are in force only the channel goes on. */
  #notification(buffer: Buffer, start: number, end: number): undefined {
    const body = new Body(buffer, start + 5, end)
    const process = body.bytes(4)
    const channel = body.cstring()
    const payload = body.cstring()
    body.done()
    const { gate, judge } = this.#c
    const { empty } = judge.plan
    gate.record('notification', {
      channel: channel.toString('utf8'),
      payload: empty ? payload.toString('utf8') : '',
    })
    if (empty) this.#onward.pass(buffer, start, end)
    else this.#onward.replace(frame(S.notification, process, channel, 0, 0))
  }

  #parameter(buffer: Buffer, start: number, end: number): undefined {
    const middle = buffer.indexOf(0, start + 5)
    if (middle < 0 || middle >= end - 1) throw new BodyError('a parameter status without a value')
    const name = buffer.toString('utf8', start + 5, middle)
    const value = buffer.toString('utf8', middle + 1, end - 1)
    const why = this.#ports.reported(name, value)
    if (why === undefined) this.#onward.pass(buffer, start, end)
    else this.#c.fail('57P01', why)
  }

  #outOfTurn(type: number): undefined {
    this.#c.fail('08P01', `the target answered out of turn (a message of type '${String.fromCharCode(type)}')`)
  }
}
