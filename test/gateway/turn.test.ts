import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { ConnectionGate } from '../../src/gateway/connection-gate.ts'
import { LiveSession, type LiveSessionOptions } from '../../src/gateway/live-session.ts'
import type { Forwarding } from '../../src/gateway/protocol.ts'
import type { NewRecorded } from '../../src/recording/events.ts'
import type { SessionRecorder } from '../../src/recording/recorder.ts'

function end(session: LiveSession): void {
  session.ended({ code: 'grant_revoked', message: 'revoked', remedy: '', decision_id: null })
}

/** A session of two connections whose recorder notes, in one list with what is forwarded, what it got. */
function world(options: { strict?: boolean; fail?: string } = {}) {
  const seen: string[] = []
  const syncs: (() => void)[] = []
  const session = new LiveSession({
    id: 'ses_1',
    settings: { level: 'full', results: 'all', head_rows: 0, strict: options.strict === true, originals: 'drop' },
    rules: [],
    moderation: { moderators: [], idle_s: 60 },
    onEnd: (_: LiveSession, code: string) => void seen.push(`ended: ${code}`),
  } as unknown as LiveSessionOptions)
  const texts = (events: readonly NewRecorded[]) => events.map(e => `${e.conn} ${e.kind}`).join(', ')
  session.recorder = {
    strict: options.strict === true,
    originals: null,
    append(events: readonly NewRecorded[]) {
      if (options.fail !== undefined) throw new Error(options.fail)
      seen.push(`journal: ${texts(events)}`)
    },
    flush: () => new Promise<void>(resolve => syncs.push(resolve)),
    prepare() {},
  } as unknown as SessionRecorder
  const gates = ['a', 'b'].map(id => new ConnectionGate(session, id, {} as never)) as [ConnectionGate, ConnectionGate]
  for (const gate of gates) {
    const id = String(session.connections.size)
    session.connections.set(id, { id, gate, ended: new AbortController() })
  }
  const bytes = (name: string): Forwarding => ({
    take: () => void seen.push(`taken: ${name}`),
    forward: () => void seen.push(`forwarded: ${name}`),
  })
  return { session, seen, syncs, gates, bytes }
}

describe('what a session records in one turn of the event loop', () => {
  test('is one record for all its connections, and none of their bytes goes on before it', async () => {
    const { gates, seen, bytes } = world()
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    gates[1].record('result', {})
    gates[1].whenRecorded(bytes('b'))
    gates[0].record('notice', {})
    expect(seen).toEqual([])
    await nextTurn()
    expect(seen).toEqual([
      'journal: a statement, b result, a notice',
      'taken: a',
      'taken: b',
      'forwarded: a',
      'forwarded: b',
    ])
  })

  test('goes on at once where there is only one connection', () => {
    const { session, gates, seen, bytes } = world()
    session.connections.delete('1')
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    expect(seen).toEqual(['journal: a statement', 'taken: a', 'forwarded: a'])
  })

  test('goes on at once where one of them says so', () => {
    const { gates, seen, bytes } = world()
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    expect(gates[1].commit()).toBe(true)
    expect(seen).toEqual(['journal: a statement', 'taken: a', 'forwarded: a'])
  })

  test('is never forwarded when the journal cannot take it: the session ends', async () => {
    const { gates, seen, bytes } = world({ fail: 'the disk is full' })
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    gates[1].whenRecorded(bytes('b'))
    await nextTurn()
    expect(seen).toEqual(['ended: recording'])
    expect(gates[1].commit()).toBe(false)
  })

  test('is never forwarded when the session ended in that turn, and is in its recording all the same', async () => {
    const { session, gates, seen, bytes } = world()
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    end(session)
    await nextTurn()
    gates[0].finish('revoked')
    expect(seen).toEqual(['journal: a statement, a disconnected'])
  })

  test('is not forwarded without a recorder', async () => {
    const { session, gates, seen, bytes } = world()
    session.recorder = null
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    await nextTurn()
    expect(seen).toEqual(['ended: recording'])
  })

  test('of a strict recording goes on when it is on disk, and what comes meanwhile waits for its own sync', async () => {
    const { gates, seen, syncs, bytes } = world({ strict: true })
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    await nextTurn()
    gates[1].record('statement', {})
    gates[1].whenRecorded(bytes('b'))
    await nextTurn()
    expect(seen).toEqual(['journal: a statement', 'taken: a', 'journal: b statement', 'taken: b'])
    syncs[0]!()
    await nextTurn()
    expect(seen.at(-1)).toBe('forwarded: a')
    syncs[1]!()
    await nextTurn()
    expect(seen.at(-1)).toBe('forwarded: b')
  })

  test('of a strict recording waits for the sync of its own record, also where another connection wrote that record', async () => {
    const { gates, seen, syncs, bytes } = world({ strict: true })
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    await nextTurn()
    gates[0].record('statement', {}) // read while the first one is synced: asked for when that is forwarded
    gates[1].record('statement', {})
    gates[1].whenRecorded(bytes('b'))
    await nextTurn()
    expect(seen.slice(2)).toEqual(['journal: a statement, b statement', 'taken: b'])
    syncs[0]!()
    await nextTurn()
    gates[0].whenRecorded(bytes('a2'))
    await nextTurn()
    expect(seen).not.toContain('forwarded: a2')
    for (const sync of syncs.slice(1)) sync()
    await nextTurn()
    expect(seen.slice(4)).toEqual(['forwarded: a', 'taken: a2', 'forwarded: b', 'forwarded: a2'])
  })

  test('of a strict recording is never forwarded when the session ended during the sync', async () => {
    const { session, gates, seen, syncs, bytes } = world({ strict: true })
    gates[0].record('statement', {})
    gates[0].whenRecorded(bytes('a'))
    await nextTurn()
    end(session)
    syncs[0]!()
    await nextTurn()
    expect(seen).toEqual(['journal: a statement', 'taken: a'])
  })

  test('goes to the journal before the turn is over where it is long, and is forwarded after it', async () => {
    const { gates, seen, bytes } = world()
    for (let i = 0; i < 5; i++) gates[0].record('rows', {}, { name: 'values', bytes: Buffer.alloc(100 * 1024) })
    gates[0].whenRecorded(bytes('a'))
    expect(seen).toEqual(['journal: a rows, a rows, a rows'])
    await nextTurn()
    expect(seen.slice(1)).toEqual(['journal: a rows, a rows', 'taken: a', 'forwarded: a'])
  })
})
