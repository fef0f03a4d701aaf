import type { KeyObject } from 'node:crypto'
import { vkey } from '../audit/note.ts'
import type { RootKey } from '../keys.ts'
import { checkpointKeys, maxCheckpointKeys } from '../signing-keys.ts'

/** The private half of a checkpoint key, where it derives from this root. */
export function checkpointKeyOf(root: RootKey, origin: string, wanted: string): KeyObject | undefined {
  for (let number = 1; number <= maxCheckpointKeys; number++) {
    const { privateKey } = checkpointKeys(root, number)
    if (vkey(origin, privateKey) === wanted) return privateKey
  }
  return undefined
}
