import type { RecordingSettings } from '../policy/points.ts'
import type { NewRecorded } from './events.ts'

/** What the recording keeps of a session, by value. `settings` and `decision_id` come from the `recording` point. */
export interface SessionFacts {
  readonly session_id: string
  readonly subject_id: string
  readonly subject_name: string
  readonly resource: string
  readonly labels: Readonly<Record<string, string>>
  readonly role: string
  readonly protocol: string
  readonly settings: RecordingSettings
  readonly decision_id: string
}

/** Records one session in this process: one part of its recording. */
export interface SessionRecorder {
  readonly recording_id: string
  readonly part: number
  readonly strict: boolean
  /** The second layer, where the `recording` point said `originals: sealed`; it ends with this one. */
  readonly originals: Pick<SessionRecorder, 'append'> | null
  /**
   * Seals and writes events; when it returns they are in the kernel. It takes some 10 µs and does not wait for the disk.
   * @throws JournalLost on any failure. INVARIANT: then nothing more is forwarded and the session is cut.
   */
  append(events: readonly NewRecorded[]): void
  /** Does what the next append can be spared. */
  prepare(): void
  /** As `Gate.behind` says. */
  behind(): Promise<void> | undefined
  /** `append`, and resolves when they are on disk. Calls of all sessions that come together share one sync. */
  appendDurable(events: readonly NewRecorded[]): Promise<void>
  /** Resolves when all that was appended is on disk. */
  flush(): Promise<void>
  /** Ends this part. Shipping what is left and the seal go on behind. Idempotent, never throws. */
  close(reason: string): Promise<void>
  /** Called once, with the reason, when the journal is lost; at once if it is lost already. */
  onLost(run: (reason: string) => void): Disposable
}
