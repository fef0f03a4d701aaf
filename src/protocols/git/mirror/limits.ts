import { availableParallelism } from 'node:os'
import { PushFault } from '../push.ts'

/** Every bound of the mirrors and of what is judged with them. */
export interface MirrorLimits {
  /** Bytes of one incoming pack. */
  readonly pack_bytes: number
  /** Objects of one incoming pack, as its header says. */
  readonly pack_objects: number
  /** Deltas upon deltas of one object: git itself writes no more. */
  readonly delta_depth: number
  /** From the first byte of a pack to its last, and until it is indexed. */
  readonly push_ms: number
  /** Until a mirror is up to date: the first time a whole repository comes. */
  readonly sync_ms: number
  /** One question to git about objects that are here. */
  readonly question_ms: number
  /** Ref updates that are looked at in one push, and for how long. */
  readonly updates: number
  readonly judge_ms: number
  /** A target that says nothing for so long, while it is asked for objects, is not waited for. */
  readonly silent_ms: number
  /** Address space of a run of git, in KiB. */
  readonly memory_kib: number
  readonly cpu_s: number
  /** Commits that are told of one ref update, and of what it lost. */
  readonly commits: number
  /** Signatures that are looked at in one push. */
  readonly signatures: number
  readonly paths: number
  /** Blobs larger than this are not looked through for secrets; the facts say which. */
  readonly scan_blob_bytes: number
  readonly scan_bytes: number
  /** Files of before that are fetched only to count lines. */
  readonly count_bytes: number
  /** Findings of one detector in one push. */
  readonly findings: number
  /** One mirror; a larger one is packed anew, or made anew. */
  readonly mirror_bytes: number
  /** All mirrors together: those that were used least lately go first. */
  readonly total_bytes: number
  readonly mirrors: number
  /** A mirror that nobody pushed to for so long goes. */
  readonly idle_ms: number
  readonly packs: number
  /** What must stay free on the disk while a pack comes in. */
  readonly free_bytes: number
  /** What one ref update lost, kept with its files; without them where it is more. */
  readonly lost_bytes: number
  readonly lost: number
}

const mib = 1 << 20
const gib = 1 << 30
const minute = 60_000

export const mirrorLimits: MirrorLimits = {
  pack_bytes: 4 * gib,
  pack_objects: 2_000_000,
  delta_depth: 4_095,
  push_ms: 60 * minute,
  sync_ms: 15 * minute,
  question_ms: 2 * minute,
  updates: 2_000,
  judge_ms: 5 * minute,
  silent_ms: minute / 2,
  memory_kib: 3 << 20,
  cpu_s: 600,
  commits: 200,
  signatures: 200,
  paths: 1_000,
  scan_blob_bytes: 4 * mib,
  scan_bytes: 128 * mib,
  count_bytes: 32 * mib,
  findings: 20,
  mirror_bytes: 8 * gib,
  total_bytes: 32 * gib,
  mirrors: 1_000,
  idle_ms: 30 * 24 * 60 * minute,
  packs: 40,
  free_bytes: gib,
  lost_bytes: 512 * mib,
  lost: 1_000,
}

/** Each has its own stack and its own delta in memory. */
export const threads = Math.min(4, availableParallelism())

/** What is too much of many refs together, and not of one. */
export const tooLarge = (why: string) => new PushFault('too_large', why, 'push fewer refs at a time')
