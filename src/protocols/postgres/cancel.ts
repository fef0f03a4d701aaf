import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { Door } from '../../gateway/protocol.ts'
import { frame, int32, S } from './messages.ts'

/** Few enough that guessing 32 bits takes centuries, enough for a person's Ctrl-C. */
const perMinute = 60
const attempts = new Map<string, { count: number; since: number }>()

/**
 * A CancelRequest goes to whoever owns the connection, also on another worker or replica, and is compared there. Nobody is
 * told whether it did anything (PG18).
 */
export function routeCancel(door: Door, connection: number, key: Buffer): void {
  const now = Date.now()
  if (attempts.size > 10_000) attempts.clear()
  let of = attempts.get(door.address)
  if (of === undefined || now - of.since > 60_000) attempts.set(door.address, (of = { count: 0, since: now }))
  if (++of.count > perMinute) door.failed('cancel', { why: 'too many cancel requests' })
  else door.relayOutOfBand(connection, key)
}

/** Our own BackendKeyData for one connection: the target's never leaves the gateway. */
export function offerCancel(door: Door, cancel: () => void): { readonly message: Buffer } & Disposable {
  const connection = door.nextConnectionNumber()
  const key = randomBytes(4)
  const listening = door.onOutOfBand(connection, payload => {
    if (payload.length === key.length && timingSafeEqual(payload, key)) cancel()
  })
  return {
    message: frame(S.backendKeyData, int32(connection), key),
    [Symbol.dispose]: () => listening[Symbol.dispose](),
  }
}

const atOnce = 8
let asking = 0
const waiting: (() => void)[] = []

/**
 * Cancels that we send to targets go a few at a time: each is a connection of its own with a handshake, and when
 * hundreds of sessions end at one moment, closing them comes first.
 */
export async function inTurn(ask: () => Promise<void>): Promise<void> {
  if (asking >= atOnce) await new Promise<void>(resolve => waiting.push(resolve))
  else asking++
  try {
    await ask()
  } finally {
    const next = waiting.shift()
    if (next === undefined) asking--
    else next()
  }
}
