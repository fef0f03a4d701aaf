import type { Reader, RecordingRow } from './reader.ts'
import { jsonLine } from './render.ts'
import { lineOf } from './replay-line.ts'

const chunkChars = 1024 * 1024

/**
 * The sealed container as lines: `part` (facts; its key where it is opened), `segment` (as it lies in the store), and where it
 * is opened `lines`, the events of the segment before as JSON Lines. The key opens nothing that is not given beside it, and
 * is never given while the recording is open: its part would go on under it.
 */
export async function* containerLines(reader: Reader, row: RecordingRow, open: boolean): AsyncGenerator<object> {
  for await (const piece of reader.container(row.session_id, open && row.state !== 'open')) {
    if (piece.piece === 'part') {
      const { part, part_id, process_id, layer, started_at_ms, ending, gaps, tail_missing_from, last_seq } = piece.part
      const facts = { part, part_id, process_id, layer, started_at_ms, ending, gaps, tail_missing_from, last_seq }
      yield { kind: 'part', ...facts, key: piece.key }
      continue
    }
    const { part, n, first_seq, last_seq, bytes, hash, prev } = piece.segment
    yield {
      kind: 'segment',
      part,
      n,
      first_seq,
      last_seq,
      bytes,
      hash,
      prev,
      stored: { base64: piece.stored.toString('base64') },
    }
    let text = ''
    for (const event of piece.events ?? []) {
      text += `${jsonLine(lineOf(event))}\n`
      if (text.length < chunkChars) continue
      yield { kind: 'lines', part, n, text }
      text = ''
    }
    if (text !== '') yield { kind: 'lines', part, n, text }
  }
}
