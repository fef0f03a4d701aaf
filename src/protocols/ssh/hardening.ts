import type { Socket } from 'node:net'
import type ssh2 from 'ssh2'
import { type InnerProtocol, inner, messages, send } from './inside.ts'
import { type SshLimits, sshLimits } from './limits.ts'
import { field, u8, u32 } from './wire/fields.ts'

/**
 * What ssh2 leaves open below the connection protocol, closed on one connection; above it, its streams are not used at
 * all (`transport.ts`, `relay/`). The numbers are those of wire/README.md, "Holes of ssh2".
 */

/** Exchanges that a peer may start for nothing; beyond them it must have moved data for each. */
const freeExchanges = 100
const bytesPerExchange = 64 * 1024
const signatures =
  'ssh-ed25519,sk-ssh-ed25519@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,' +
  'sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256'

/** Call it first thing in the `connection` event of the server. */
export function hardenServer(connection: ssh2.Connection, socket: Socket, limits: SshLimits = sshLimits): void {
  mendExtInfo(inner(connection)._protocol)
  watch(connection, socket, limits)
}

/** Call it right after `Client.connect`, which must have a `hostVerifier` (point 9). */
export function hardenClient(connection: ssh2.Client, socket: Socket, limits: SshLimits = sshLimits): void {
  if (typeof inner(connection)._protocol._hostVerifier !== 'function') {
    socket.destroy()
    throw new Error('ssh2 would take any host key: connect needs a hostVerifier')
  }
  watch(connection, socket, limits)
}

/** Point 8: ssh2's `server-sig-algs` lacks a comma and names SHA-1 and DSA; ours is sent in its place. */
function mendExtInfo(protocol: InnerProtocol): void {
  const complete = protocol._onHandshakeComplete
  let first = true
  protocol._onHandshakeComplete = (...negotiated) => {
    const wanted = first && protocol._kex?.remoteExtInfoEnabled === true
    first = false
    if (wanted) protocol._kex!.remoteExtInfoEnabled = false
    complete(...negotiated)
    if (!wanted) return
    send(protocol, Buffer.concat([u8(messages.EXT_INFO), u32(1), field('server-sig-algs'), field(signatures)]))
  }
}

/** Points 7 and 11: what ended is cut, and keys are renewed by bytes and by time; an exchange that hangs is cut. */
function watch(connection: ssh2.Client | ssh2.Connection, socket: Socket, limits: SshLimits): void {
  const protocol = inner(connection)._protocol
  let exchanges = 0
  let since = { at: Date.now(), bytes: 0 }
  let exchanging: number | undefined
  const moved = () => socket.bytesRead + socket.bytesWritten
  const emitter = connection as NodeJS.EventEmitter
  emitter
    .on('error', () => cutSoon(socket, limits))
    .on('end', () => cutSoon(socket, limits))
    .on('handshake', () => {
      since = { at: Date.now(), bytes: moved() }
      if (++exchanges > freeExchanges + moved() / bytesPerExchange) socket.destroy()
    })
  const look = () => {
    if (!protocol._authenticated || socket.destroyed) return
    exchanging = protocol._kexinit === undefined ? undefined : (exchanging ?? Date.now())
    if (exchanging !== undefined) {
      if (Date.now() - exchanging > limits.rekey_stall_ms) socket.destroy()
    } else if (moved() - since.bytes >= limits.rekey_bytes || Date.now() - since.at >= limits.rekey_ms) protocol.rekey()
  }
  const timer = setInterval(look, Math.min(1000, limits.rekey_stall_ms))
  timer.unref()
  socket.once('close', () => clearInterval(timer))
}

function cutSoon(socket: Socket, limits: SshLimits): void {
  if (socket.destroyed) return
  const timer = setTimeout(() => socket.destroy(), limits.linger_ms)
  socket.once('close', () => clearTimeout(timer))
}
