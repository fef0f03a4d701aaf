import { createRequire } from 'node:module'
import type { Duplex, Readable, Writable } from 'node:stream'
import type ssh2 from 'ssh2'

/**
 * The inner parts of ssh2 that `algorithms.ts`, `hardening.ts` and `flow.ts` touch, typed as they are in one version.
 * INVARIANT: nobody else reaches behind ssh2's documented interface, and nothing is touched in another version.
 */
export const ssh2Version = '1.17.0'

const require = createRequire(import.meta.url)

/** @throws an Error unless exactly the version is loaded whose inner parts were read and tested. */
export function checkLibrary(): void {
  const { version } = require('ssh2/package.json') as { version: string }
  if (version !== ssh2Version)
    throw new Error(`ssh2 ${version} is installed, and only ${ssh2Version} was examined: run \`npm ci\``)
}

/** Whether ssh2's own cipher code is compiled. Without it everything works, at 0.5–0.7 of the speed. */
export function nativeCrypto(): boolean {
  return (require('ssh2/lib/protocol/crypto.js') as { bindingAvailable: boolean }).bindingAvailable
}

export const messages = { EXT_INFO: 7, USERAUTH_REQUEST: 50 } as const
export const reasons = { RESOURCE_SHORTAGE: 4, NO_MORE_AUTH_METHODS_AVAILABLE: 14, PROTOCOL_ERROR: 2 } as const

export interface InnerProtocol {
  readonly _kex: { readonly sessionID: Buffer; remoteExtInfoEnabled?: boolean } | undefined
  /** Set from the first byte of a key exchange to its last. */
  readonly _kexinit: unknown
  readonly _packetRW: {
    readonly write: { readonly allocStart: number; alloc(length: number): Buffer; finalize(packet: Buffer): Buffer }
  }
  readonly _authsQueue: string[]
  readonly _hostVerifier: unknown
  /** What waits for the end of a key exchange. */
  readonly _queue: readonly Buffer[] | undefined
  readonly _handlers: Record<string, Handler | undefined>
  /** What is offered in the first key exchange and in each later one. */
  _offer: unknown
  _onPacket: () => void
  _onHandshakeComplete: (...negotiated: unknown[]) => void
  authPK: (...given: unknown[]) => void
  authFailure: (methods?: string[], partial?: boolean) => void
  channelOpenFail: (remote: number, reason: number, description: string) => void
  disconnect: (reason: number) => void
  rekey: () => void
}

// biome-ignore lint/suspicious/noExplicitAny: each message has parameters of its own
export type Handler = (protocol: InnerProtocol, ...parameters: any[]) => void

export interface InnerClient {
  readonly _protocol: InnerProtocol
  readonly _chanMgr: {
    readonly _count: number
    get(id: number): InnerChannel | InnerSession | ((error: Error) => void)
  }
  readonly authenticated?: boolean
  readonly config?: { readonly keepaliveInterval: number }
}

interface Side {
  readonly id: number
  window: number
  packetSize: number
  state: 'open' | 'eof' | 'closing' | 'closed'
}

export interface InnerChannel extends Omit<Duplex, '_write'> {
  readonly _client: InnerClient
  readonly server: boolean
  readonly incoming: Side
  readonly outgoing: Side
  readonly stderr: (Readable | Writable) & { _write: Write }
  _write: Write
  _waitWindow: boolean
  _chunk: Buffer | undefined
  _chunkcb: Done | undefined
  _chunkErr: Buffer | undefined
  _chunkcbErr: Done | undefined
}

export interface InnerSession {
  readonly _chanInfo: { readonly incoming: Side; readonly outgoing: Side }
  _channel: InnerChannel | undefined
  emit: (event: string, ...parameters: unknown[]) => boolean
}

export type Done = (error?: Error | null) => void
export type Write = (data: Buffer, encoding: BufferEncoding, done: Done) => void

type ChannelClass = new (client: object, info: { incoming: object; outgoing: object }, options: object) => InnerChannel

export const { Channel } = require('ssh2/lib/Channel.js') as { Channel: ChannelClass }

/** Both ends look the same inside; what only one of them has is optional. */
export function inner(connection: ssh2.Client | ssh2.Connection): InnerClient {
  return connection as unknown as InnerClient
}

const { sendPacket } = require('ssh2/lib/protocol/utils.js') as {
  sendPacket: (to: InnerProtocol, packet: Buffer) => void
}

/** Sends one message, after a key exchange that is under way. */
export function send(protocol: InnerProtocol, payload: Buffer): void {
  const { write } = protocol._packetRW
  const at = write.allocStart
  const packet = write.alloc(payload.length)
  packet.set(payload, at)
  sendPacket(protocol, write.finalize(packet))
}

interface Direction {
  readonly cipher: readonly string[]
  readonly mac: readonly string[]
  readonly compress: readonly string[]
  readonly lang: readonly string[]
}

type KexInit = new (lists: { kex: string[]; serverHostKey: string[]; cs: Direction; sc: Direction }) => object

/** An offer of ssh2's, which a server makes once for all its clients. */
export const { KexInit } = require('ssh2/lib/protocol/kex.js') as { KexInit: KexInit }
