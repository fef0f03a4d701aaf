import { describe, expect, test } from 'vitest'
import { chainOf, openHandover, signHandover } from '../../src/audit/handover.ts'
import { bodyHash, leafText } from '../../src/audit/leaf.ts'
import { leafHash } from '../../src/audit/merkle.ts'
import { checkpointText, parseVkey, signNote, vkey } from '../../src/audit/note.ts'
import { verifyProof } from '../../src/evidence/verify.ts'
import { fixedKey, origin } from './support.ts'

const [stolen, known, next, forged] = [7, 8, 9, 66].map(fixedKey)
const at = (size: number) => ({ origin, size, root: leafHash(String(size)) })
const handover = signHandover(at(5), 1, stolen!, known!)
const forgery = signHandover(at(0), 2, stolen!, forged!)

describe('a checkpoint key that was stolen and handed over', () => {
  test('names no other heir to who knows the new key, and takes nothing back', () => {
    const onward = signHandover(at(9), 3, known!, next!)
    for (const notes of [
      [handover, onward, forgery],
      [forgery, onward, handover],
    ]) {
      const chain = chainOf(
        notes.map(note => openHandover(note)!),
        parseVkey(vkey(origin, known!)),
      )
      expect(chain.links.map(link => [vkey(origin, link.verifier.key), link.until])).toEqual([
        [vkey(origin, stolen!), 5],
        [vkey(origin, known!), 9],
        [vkey(origin, next!), Number.POSITIVE_INFINITY],
      ])
    }
  })

  test('forges no proof for who knows the new key', () => {
    const salt = Buffer.alloc(32, 1)
    const body = '{"id":"evt_x"}'
    const leaf = leafText({
      v: 1,
      type: 'grant.started',
      at_ms: 1,
      writer: 'prc_x.1',
      wseq: 1,
      prev: '',
      body_hash: bodyHash(salt, body),
    })
    const signed = signNote(checkpointText({ origin, size: 1, root: leafHash(leaf) }), origin, forged!)
    const proof = {
      format: 'sallyport-proof-v1',
      leaf,
      body,
      salt: salt.toString('hex'),
      index: 0,
      checkpoint: signed,
      inclusion: [],
      vkey: vkey(origin, known!),
      handovers: [handover, forgery],
    }
    const report = verifyProof(proof, { vkey: vkey(origin, known!) })
    expect(report).toMatchObject({ ok: false, problems: [expect.stringContaining('not signed by')] })
  })
})
