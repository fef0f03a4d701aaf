import type { Seal } from '../recording/format/seal.ts'

/** What a bundle is made of, in the order of its files. README.md of this room describes each. */
export const bundleFormat = 'sallyport-evidence-v1'

const mib = 1024 * 1024
/** Lines of one file; a file of lines ends when it has so many, or so many bytes. */
export const linesPerFile = 2_000
export const bytesPerFile = 8 * mib

const limits: readonly (readonly [RegExp, number])[] = [
  [/^README\.txt$/, mib],
  [/^verify\.mjs$/, 8 * mib],
  [/^(?:bundle|manifest\.proof)\.json$/, mib],
  [/^log\/(?:key|checkpoint)\.txt$/, mib],
  [/^log\/outside\.jsonl$/, mib],
  [/^log\/handovers\.json$/, mib],
  [/^(?:log\/events-|decisions\/|requests-|sessions-)\d{5}\.jsonl$/, 64 * mib],
  [/^revisions\/\d{1,9}\.json$/, mib],
  [/^revisions\/\d{1,9}\.tar\.gz$/, 64 * mib],
  [/^recordings\/ses_[0-9a-z]{26}\/(?:recording|end|part-\d{1,6})\.json$/, 16 * mib],
  [/^recordings\/ses_[0-9a-z]{26}\/part-\d{1,6}-\d{6,9}\.seg$/, 40 * mib],
  [/^recordings\/ses_[0-9a-z]{26}\/part-\d{1,6}-\d{6,9}\.jsonl$/, 256 * mib],
  [/^report\.html$/, 64 * mib],
  [/^manifest\.json$/, 512 * mib],
]

/** How large a file of this name may be; undefined where a bundle has no such file. */
export function mostBytes(file: string): number | undefined {
  return limits.find(([name]) => name.test(file))?.[1]
}

export type About =
  | { readonly session: string }
  | { readonly request: string }
  | { readonly subject: string; readonly from_ms: number; readonly to_ms: number }

/** `bundle.json`: what was asked for, by whom, and what was not given to them. */
export interface BundleFacts {
  readonly format: typeof bundleFormat
  readonly deployment: string
  readonly about: About
  readonly by: { readonly id: string; readonly name: string }
  readonly at_ms: number
  /** The `admin` decision that allowed the export. */
  readonly decision_id: string
  readonly withheld: readonly Withheld[]
}

export interface Withheld {
  readonly what: string
  readonly why: string
}

/** A line of `log/events-*.jsonl`: an event with its path to the root that `log/checkpoint.txt` signs. Hashes in hex. */
export interface EventLine {
  readonly id: string
  readonly index: number
  readonly leaf: string
  readonly body: string | null
  readonly salt: string | null
  readonly inclusion: readonly string[]
}

/** `recordings/SESSION/recording.json`. */
export interface RecordingFile {
  readonly id: string
  readonly session_id: string
  readonly subject_id: string
  readonly subject_name: string
  readonly resource: string
  readonly role: string
  readonly protocol: string
  readonly decision_id: string
  readonly state: 'open' | 'sealed' | 'interrupted' | 'deleted'
  readonly started_at_ms: number
  readonly seal: Seal | null
  readonly seal_hash: string | null
  readonly receipt: Readonly<Record<string, unknown>> | null
  readonly holds: readonly HoldFile[]
  /** `text`: container, keys and events; `sealed`: the container alone; `none`: neither. */
  readonly given: 'text' | 'sealed' | 'none'
  readonly why: string | null
}

export interface HoldFile {
  readonly id: string
  readonly reason: string
  readonly set_by: string
  readonly set_at_ms: number
  readonly lifted_by: string | null
  readonly lifted_at_ms: number | null
}

/** `recordings/SESSION/part-N.json`: facts of a part, and its key where its events are given. */
export interface PartFile {
  readonly part: number
  readonly part_id: string
  readonly process_id: string
  readonly layer: 'masked'
  readonly started_at_ms: number
  readonly ending: 'clean' | 'lost' | 'recovered' | null
  readonly gaps: { from_seq: number; to_seq: number }[]
  readonly tail_missing_from: number | null
  readonly last_seq: number | null
  readonly key: string | null
}

export interface ManifestFile {
  readonly name: string
  readonly size: number
  readonly sha256: string
}

/** `manifest.json`: every file before it, in order. Its SHA-256 is in the event `evidence.exported`. */
export interface Manifest {
  readonly format: typeof bundleFormat
  readonly files: readonly ManifestFile[]
}

/** `manifest.proof.json`: that event, under a later checkpoint, and that the log only grew between the two. */
export interface ManifestProof {
  readonly event: EventLine
  readonly checkpoint: string
  readonly consistency: readonly string[]
}

/** `log/outside.jsonl`: checkpoints that were kept outside, each with its path to the root of `log/checkpoint.txt`. */
export interface OutsideLine {
  readonly from: string
  readonly checkpoint: string
  readonly consistency: readonly string[]
}
