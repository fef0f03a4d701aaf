import { randomFillSync } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import type ssh2 from 'ssh2'

/**
 * The inner parts of ssh2 that this folder touches, typed as they are in one version: its packets and key exchange stay
 * its own. INVARIANT: nobody reaches behind ssh2's documented interface but through here, and nothing is touched in
 * another version.
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

export const messages = { DISCONNECT: 1, EXT_INFO: 7, USERAUTH_REQUEST: 50 } as const

export interface InnerProtocol {
  readonly _kex: { readonly sessionID: Buffer; remoteExtInfoEnabled?: boolean } | undefined
  /** Set from the first byte of a key exchange to its last. */
  readonly _kexinit: unknown
  /** Set as long as anything may be sent. */
  readonly _destruct: unknown
  readonly _cipher: object
  readonly _packetRW: {
    readonly write: {
      readonly allocStart: number
      readonly allocStartKEX: number
      alloc(length: number, force?: boolean): Buffer
      finalize(packet: Buffer, force?: boolean): Buffer
    }
  }
  /** The login succeeded, on either side. */
  readonly _authenticated: boolean
  readonly _authsQueue: string[]
  readonly _hostVerifier: unknown
  readonly _handlers: Record<string, Handler | undefined>
  /** What is offered in the first key exchange and in each later one. */
  _offer: unknown
  /** Takes each message once it is whole and decrypted; a decipher keeps a copy of it. */
  _onPayload: (payload: Buffer) => unknown
  readonly _decipher: { _onPayload: (payload: Buffer) => unknown } | undefined
  _onHandshakeComplete: (...negotiated: unknown[]) => void
  authPK: (...given: unknown[]) => void
  rekey: () => void
}

// biome-ignore lint/suspicious/noExplicitAny: each message has parameters of its own
export type Handler = (protocol: InnerProtocol, ...parameters: any[]) => void

export interface InnerClient {
  readonly _protocol: InnerProtocol
  /** On the side of a server, the socket that was injected. */
  readonly _sock?: Socket
}

/** Both ends look the same inside; what only one of them has is optional. */
export function inner(connection: ssh2.Client | ssh2.Connection): InnerClient {
  return connection as unknown as InnerClient
}

const { sendPacket } = require('ssh2/lib/protocol/utils.js') as {
  sendPacket: (to: InnerProtocol, packet: Buffer, bypass?: boolean) => void
}

/** Sends one message, after a key exchange that is under way; with `recipient` its channel number is replaced on the way. */
export function send(protocol: InnerProtocol, payload: Buffer, recipient?: number): void {
  const { write } = protocol._packetRW
  const at = write.allocStart
  const packet = packetFor(protocol, payload.length)
  packet.set(payload, at)
  if (recipient !== undefined) writeU32(packet, recipient, at + 1)
  sendPacket(protocol, write.finalize(packet))
}

const padding = Buffer.allocUnsafe(32 * 1024)
let paddingUsed = padding.length

/**
 * As ssh2 makes one (RFC 4253 §6, RFC 5647 §7.2), with random padding that is drawn for a thousand packets at once: drawn
 * for each, it is a tenth of what a packet costs.
 */
function packetFor(protocol: InnerProtocol, length: number): Buffer {
  if (protocol._kexinit !== undefined || protocol._cipher.constructor.name !== 'AESGCMCipherBinding')
    return protocol._packetRW.write.alloc(length)
  let padded = 16 - ((1 + length) & 15)
  if (padded < 4) padded += 16
  const packet = Buffer.allocUnsafe(5 + length + padded + 16)
  writeU32(packet, 1 + length + padded, 0)
  packet[4] = padded
  if (paddingUsed + padded > padding.length) {
    randomFillSync(padding)
    paddingUsed = 0
  }
  packet.set(padding.subarray(paddingUsed, paddingUsed + padded), 5 + length)
  paddingUsed += padded
  return packet
}

/** Sends one message of so many bytes in pieces, each of which is copied once only: straight into the packet. */
export function sendPieces(protocol: InnerProtocol, pieces: readonly Buffer[], bytes: number): void {
  const { write } = protocol._packetRW
  let at = write.allocStart
  const packet = packetFor(protocol, bytes)
  for (const piece of pieces) {
    packet.set(piece, at)
    at += piece.length
  }
  sendPacket(protocol, write.finalize(packet))
}

/** Sends one message in the middle of a key exchange too, where only few kinds are allowed. */
export function sendNow(protocol: InnerProtocol, payload: Buffer): void {
  const { write } = protocol._packetRW
  const at = write.allocStartKEX
  const packet = write.alloc(payload.length, true)
  packet.set(payload, at)
  sendPacket(protocol, write.finalize(packet, true), true)
}

function writeU32(bytes: Buffer, value: number, at: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
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
