import { type CheckpointCopy, standsAt } from '../audit/copy.ts'
import { parseVkey } from '../audit/note.ts'

/** A checkpoint that was kept where the owner of the database may not reach it. */
export interface Outside {
  readonly from: string
  readonly note: string
  readonly size: number
}

/** The newest checkpoint of the copy that the log of `size` entries must continue. */
export async function copiedCheckpoints(copy: CheckpointCopy, vkey: string, size: number): Promise<Outside[]> {
  const verifier = parseVkey(vkey)
  let newest: Outside | undefined
  for await (const line of copy.lines()) {
    const stands = line.kind === 'handover' ? null : standsAt(line, verifier)
    if (stands === null || stands.size > size) continue
    // What a signed break gave up is not in this log: only what was copied after it must be its beginning.
    newest =
      line.kind === 'break'
        ? undefined
        : { from: 'the second path of the control host', note: line.note, size: stands.size }
  }
  return newest === undefined || newest.size === 0 ? [] : [newest]
}
