import { nameIn, readBind, statementText, textOf } from './client-bodies.ts'
import type { Conversation } from './conversation.ts'
import type { FrameSink } from './frames.ts'
import { Body, BodyError, C, errorResponse, frame } from './messages.ts'
import { Expected, Owed, type Running } from './pending.ts'
import { type Change, cursor, type Portal, weightOf } from './prepared.ts'

const maxPending = 10_000
const maxPendingBytes = 32 * 1024 * 1024
const maxNames = 'close some first, or use fewer names'
/** Reads what the client says. Each message is judged whole before a byte of it goes on. */
export class ClientSide implements FrameSink {
  readonly #c: Conversation
  /** Why reading stopped: a promise (then `'catalog'`), or `'answers'`: the target's answers to what was sent before. */
  waitingFor: Promise<unknown> | 'answers' | 'catalog' | null = null
  terminated = false
  /** It waits for room, and the target was asked for its answers. */
  #asked = false
  /** The frame that comes by pieces goes on to the target. */
  #passing = false

  constructor(conversation: Conversation) {
    this.#c = conversation
  }

  streams(type: number): boolean {
    return type === C.copyData
  }

  /** INVARIANT: a frame goes on whole or not at all, whatever becomes of the COPY in its midst: half of one would swallow what follows. */
  piece(_type: number, buffer: Buffer, start: number, end: number, first: boolean): void {
    if (first) this.#passing = this.#c.copyIn !== 'none'
    if (this.#passing) this.#c.up.push(buffer.subarray(start, end))
  }

  drained(): void {}

  frame(type: number, buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    if (c.fault !== null || this.terminated) return true
    try {
      switch (type) {
        case C.copyData:
          this.#copyData(buffer, start, end)
          return true
        case C.copyDone:
        case C.copyFail:
          this.#copyEnd(buffer, start, end)
          return true
        case C.flush:
          new Body(buffer, start + 5, end).done()
          if (!c.skipping && c.pending.length > 0) c.up.push(buffer.subarray(start, end))
          return true
        case C.sync:
          new Body(buffer, start + 5, end).done()
          return this.#sync(buffer, start, end)
        case C.terminate:
          this.terminated = true
          return true
      }
      if (c.copyIn !== 'none') {
        c.fail('08P01', 'only COPY data may be sent while a COPY from the client is under way')
        return true
      }
      if (c.skipping && type !== C.query && type !== C.functionCall) return this.#skipped(type)
      if (c.skipping) return true // The target, too, ignores these until the Sync.
      if (c.pending.length >= maxPending || c.pending.weight > maxPendingBytes) return this.#waitForRoom()
      this.#asked = false
      switch (type) {
        case C.query:
          return this.#query(buffer, start, end)
        case C.parse:
          return this.#parse(buffer, start, end)
        case C.bind:
          return this.#bind(buffer, start, end)
        case C.execute:
          return this.#execute(buffer, start, end)
        case C.describe:
          return this.#describe(buffer, start, end)
        case C.close:
          return this.#close(buffer, start, end)
        case C.functionCall:
          c.refuseQuery(
            c.judge.refuse(
              'postgres.function-call',
              '42501',
              'function calls by OID are refused',
              'call the function by a SELECT',
            ),
          )
          return true
        default:
          c.fail('08P01', `a message of the unknown type 0x${type.toString(16)} was refused`)
          return true
      }
    } catch (error) {
      if (!(error instanceof BodyError)) throw error
      c.fail('08P01', `a message could not be read: ${error.message}`)
      return true
    }
  }

  /** The target may hold answers back until a Sync that cannot come: it is asked for them. */
  #waitForRoom(): false {
    if (!this.#asked) this.#c.up.push(frame(C.flush))
    this.#asked = true
    return this.#wait('answers')
  }

  #wait(reason: Promise<unknown> | 'answers'): false {
    this.waitingFor = reason
    return false
  }

  #skipped(type: number): boolean {
    if (type !== C.parse && type !== C.bind && type !== C.execute && type !== C.describe && type !== C.close) {
      this.#c.fail('08P01', `a message of the unknown type 0x${type.toString(16)} was refused`)
    }
    return true
  }

  #query(buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    const sql = statementText(buffer, start + 5, end)
    if (sql === null) {
      c.refuseQuery(badText(c))
      return true
    }
    const judged = c.judge.query(sql)
    if (judged.kind === 'wait') return this.#wait(judged.until)
    if (judged.kind === 'refused') {
      c.refuseQuery(judged.error)
      return true
    }
    if (judged.running.filter(copiesIn).length > 1) {
      // Between the two nobody could tell whether the next message is data or a statement.
      const words = 'two COPY from the client in one message are refused'
      c.refuseQuery(c.judge.refuse('postgres.copy', '0A000', words, 'send them one by one'))
      return true
    }
    const expected = new Expected(Owed.query, c.group, judged.running)
    this.#follow(expected)
    // A Query destroys the unnamed statement and portal before anything else.
    if (c.statements.get('') !== undefined) expected.change = c.statements.set('', undefined, c.group)
    if (c.portals.get('') !== undefined) expected.changeToo = c.portals.set('', undefined, c.group)
    c.send(buffer.subarray(start, end), expected)
    c.endGroup()
    return true
  }

  #parse(buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    const body = new Body(buffer, start + 5, end)
    const name = nameIn(body)
    const raw = body.cstring()
    const types = body.int16()
    body.bytes(types * 4)
    body.done()
    if (!c.statements.certain(name, c.group)) return this.#wait('answers')
    const sql = textOf(raw)
    if (sql === null) c.refuse(badText(c))
    else if (name !== '' && c.judge.preparedBySql(name) !== undefined) {
      // One space of names at the target: a second meaning would leave open which of the two runs.
      const words = `the name ${name} was used by PREPARE on this connection`
      c.refuse(c.judge.refuse('postgres.prepared', '42P05', words, 'choose another name'))
    } else if (c.statements.full(name, raw.length, weightOf.prepared)) {
      c.refuse(c.judge.refuse('postgres.limit', '54000', 'too many prepared statements on this connection', maxNames))
    } else {
      const judged = c.judge.parse(sql)
      if (judged.kind === 'wait') return this.#wait(judged.until)
      if (judged.kind === 'refused') c.refuse(judged.error)
      else if (judged.running.length > 1) {
        c.refuse(errorResponse('ERROR', '42601', 'cannot insert multiple commands into a prepared statement'))
      } else {
        const expected = new Expected(Owed.parse, c.group, judged.running)
        expected.change = c.statements.set(name, judged.prepared!, c.group)
        expected.weight = raw.length
        c.send(buffer.subarray(start, end), expected)
      }
    }
    return true
  }

  #bind(buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    const body = new Body(buffer, start + 5, end)
    const portal = nameIn(body)
    const name = nameIn(body)
    if (!c.statements.certain(name, c.group) || !c.portals.certain(portal, c.group)) return this.#wait('answers')
    const prepared = c.statements.get(name) ?? (name === '' ? undefined : c.judge.preparedBySql(name))
    const read = readBind(body)
    if (prepared === undefined) {
      c.refuse(errorResponse('ERROR', '26000', `prepared statement "${name}" does not exist`))
    } else if (c.portals.full(portal, end - start, weightOf.portal)) {
      c.refuse(c.judge.refuse('postgres.limit', '54000', 'too many portals on this connection', maxNames))
    } else {
      const value: Portal = {
        prepared,
        formats: read.formats,
        parameters: read.parameters,
        unread: read.unread,
        description: null,
        describing: null,
        cursor: null,
        released: undefined,
      }
      // The target plans what is bound, and may run functions for that: what needs an approval waits here.
      const judged = prepared.asks && !c.skipping ? c.judge.execute(value) : null
      if (judged?.kind === 'wait') return this.#wait(judged.until)
      if (judged?.kind === 'refused') {
        c.refuse(judged.error)
        return true
      }
      value.released = judged?.verdict
      const expected = new Expected(Owed.bind, c.group)
      expected.change = c.portals.set(portal, value, c.group)
      expected.weight = end - start
      c.send(buffer.subarray(start, end), expected)
    }
    return true
  }

  #execute(buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    const body = new Body(buffer, start + 5, end)
    const name = nameIn(body)
    body.int32()
    body.done()
    if (!c.portals.certain(name, c.group)) return this.#wait('answers')
    const portal = c.portals.get(name)
    if (portal === undefined) {
      c.refuse(errorResponse('ERROR', '34000', `portal "${name}" does not exist`))
      return true
    }
    const judged = c.judge.execute(portal)
    if (judged.kind === 'wait') return this.#wait(judged.until)
    if (judged.kind === 'refused') {
      c.refuse(judged.error)
      return true
    }
    portal.released ??= judged.verdict
    const running = judged.running[0]
    const expected = new Expected(Owed.execute, c.group, judged.running, portal)
    if (running !== undefined) {
      const plan = c.judge.plan
      if (running.judgement.describe && portal.description?.plan !== plan && portal.describing !== plan) {
        // Rows without a description could not be masked (PG3): ask for one the client does not see.
        this.#askDescription(portal, name, true)
      }
      this.#follow(expected)
    }
    c.send(buffer.subarray(start, end), expected)
    return true
  }

  #describe(buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    const body = new Body(buffer, start + 5, end)
    const what = body.byte()
    const name = nameIn(body)
    body.done()
    if (what === 0x53) {
      if (!c.statements.certain(name, c.group)) return this.#wait('answers')
      c.send(buffer.subarray(start, end), new Expected(Owed.describeStatement, c.group))
      return true
    }
    if (what !== 0x50) throw new BodyError('what to describe is neither a statement nor a portal')
    if (!c.portals.certain(name, c.group)) return this.#wait('answers')
    const portal = c.portals.get(name)
    if (portal === undefined) c.refuse(errorResponse('ERROR', '34000', `portal "${name}" does not exist`))
    else this.#askDescription(portal, name, false)
    return true
  }

  #askDescription(portal: Portal, name: string, hidden: boolean): void {
    const c = this.#c
    portal.describing = c.judge.plan
    const expected = new Expected(Owed.describePortal, c.group, [], portal, hidden)
    c.send(frame(C.describe, 'P', name, 0), expected)
  }

  #close(buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    const body = new Body(buffer, start + 5, end)
    const what = body.byte()
    const name = nameIn(body)
    body.done()
    if (what !== 0x53 && what !== 0x50) throw new BodyError('what to close is neither a statement nor a portal')
    const names = what === 0x53 ? c.statements : c.portals
    if (!names.certain(name, c.group)) return this.#wait('answers')
    const expected = new Expected(Owed.close, c.group)
    if (names.get(name) !== undefined) expected.change = names.set(name, undefined, c.group)
    c.send(buffer.subarray(start, end), expected)
    return true
  }

  #sync(buffer: Buffer, start: number, end: number): boolean {
    const c = this.#c
    if (c.copyIn === 'active') {
      // The target ignores it, and so does the client expect no answer.
      c.up.push(buffer.subarray(start, end))
      return true
    }
    const expected = new Expected(Owed.sync, c.group)
    expected.ignoredInCopy = c.copyIn === 'expected'
    c.send(buffer.subarray(start, end), expected)
    c.endGroup()
    return true
  }

  /** PG21: data that belongs to no COPY that was allowed is dropped here and never read as anything else. */
  #copyData(buffer: Buffer, start: number, end: number): void {
    if (this.#c.copyIn !== 'none') this.#c.up.push(buffer.subarray(start, end))
  }

  #copyEnd(buffer: Buffer, start: number, end: number): void {
    const c = this.#c
    if (c.copyIn === 'none') return
    c.copyIn = 'none'
    c.up.push(buffer.subarray(start, end))
  }

  /** What the statements of a message make of names, once the target says that they are done. */
  #follow(expected: Expected): void {
    const c = this.#c
    for (const [i, { statement }] of expected.running.entries()) {
      const { control } = statement
      if (control.kind === 'none') continue
      if (control.kind === 'copy' && control.direction === 'in') {
        c.copyIn = 'expected'
        c.copyOwed = expected
        continue
      }
      const change =
        control.kind === 'deallocate'
          ? c.statements.drop(control.name)
          : control.kind === 'discard' && control.all
            ? both(c.statements.drop(null), c.portals.drop(null))
            : control.kind === 'close'
              ? c.portals.drop(control.name)
              : control.kind === 'declare'
                ? c.portals.set(
                    control.name,
                    cursor(control.name, control.inner, c.judge.catalogVersion, control.held),
                    c.group,
                  )
                : undefined
      if (change !== undefined) (expected.changes ??= [])[i] = change
    }
  }
}

function both(one: Change, other: Change): Change {
  return {
    confirm() {
      one.confirm()
      other.confirm()
    },
    undo() {
      other.undo()
      one.undo()
    },
  }
}

const copiesIn = ({ statement: { control } }: Running): boolean => control.kind === 'copy' && control.direction === 'in'

function badText(c: Conversation): Buffer {
  return c.judge.refuse('postgres.encoding', '22021', 'the statement is not valid UTF-8', 'send statements in UTF8')
}
