import { randomBytes } from 'node:crypto'
import { SallyportError } from '../errors.ts'
import type { NewPart } from './catalog.ts'
import type { Layer } from './format/segment.ts'
import { newPartKey, type PartKey } from './part-key.ts'

/** A part before it has a number: its key, and what its row will hold. */
export interface BegunPart {
  readonly id: Buffer
  readonly key: PartKey['key']
  readonly row: NewPart
}

/** @throws SallyportError for a layer that nobody could ever open: what policy asks to keep is not thrown away. */
export async function newPart(
  layer: Layer,
  given: {
    readonly process_id: string
    readonly recipients: readonly string[]
    readonly originals_recipients?: readonly string[]
  },
): Promise<BegunPart> {
  const recipients = layer === 'masked' ? given.recipients : (given.originals_recipients ?? [])
  if (recipients.length === 0)
    throw new SallyportError(
      'recording_unavailable',
      'policy asks to seal the originals of this session, and this deployment names nobody who could open them',
      {
        remedy:
          'name recording.originals_recipients (`sallyport keys` makes a pair), or let the `recording` point answer originals: drop',
      },
    )
  const id = randomBytes(16)
  const part_id = id.toString('hex')
  const { key, wrapped } = await newPartKey(recipients)
  const { process_id } = given
  return { id, key, row: { part_id, layer, process_id, spool: process_id, wrapped } }
}
