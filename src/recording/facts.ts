import type { Input } from '../policy/points.ts'
import type { RecordingRow } from './reader.ts'

/** What policy is told of a recording, at `replay` and at `retention`. */
export function recordingFacts(row: RecordingRow): Input<'replay'>['recording'] {
  return {
    id: row.id,
    session: row.session_id,
    subject: row.subject_id,
    resource: row.resource,
    labels: row.labels,
    role: row.role,
    protocol: row.protocol,
    started_at_ms: row.started_at.getTime(),
    live: row.state === 'open',
  }
}
