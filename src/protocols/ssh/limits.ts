/** What one connection may take. How long a login may take is the door's, how many connections an address has the listeners'. */
export interface SshLimits {
  /** Failed proofs of one connection. */
  readonly tries: number
  /** Questions of a login, those among them that are no proof. */
  readonly questions: number
  /** Channels that are open at once. */
  readonly channels: number
  /** Requests, openings and operations on files of one connection that are refused: each of them is an event. */
  readonly refusals: number
  /** The other leg is not read while more than this waits to be sent to a peer. */
  readonly outgoing_bytes: number
  /** Beyond this a peer lets the answers to its own questions pile up, and is cut. */
  readonly outgoing_max_bytes: number
  /** How often a silent peer is asked whether it lives, and how many questions it may leave unanswered. */
  readonly ask_ms: number
  readonly unanswered: number
  /** How long a peer has to read the last words and to close its side. */
  readonly linger_ms: number
  readonly rekey_bytes: number
  readonly rekey_ms: number
  /** How long an exchange of keys may take once the client is known. */
  readonly rekey_stall_ms: number
  /** The login at a target, from its first byte. */
  readonly target_login_ms: number
}

export const sshLimits: SshLimits = {
  tries: 6,
  questions: 60,
  channels: 100,
  refusals: 10_000,
  outgoing_bytes: 1024 * 1024,
  outgoing_max_bytes: 16 * 1024 * 1024,
  ask_ms: 15_000,
  unanswered: 3,
  linger_ms: 5_000,
  rekey_bytes: 1024 ** 3,
  rekey_ms: 3_600_000,
  rekey_stall_ms: 30_000,
  target_login_ms: 15_000,
}
