import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { bodyHash, bodyText, leafText, parseLeaf } from '../../src/audit/leaf.ts'
import { emptyRoot, leafHash } from '../../src/audit/merkle.ts'
import {
  checkpointText,
  openCheckpoint,
  openNote,
  parseCheckpoint,
  parseVkey,
  signNote,
  vkey,
} from '../../src/audit/note.ts'
import { entryBundle, nodesFrom, parseTilePath, tilePath } from '../../src/audit/tiles.ts'
import { fixedKey, origin } from './support.ts'

const vector = <T>(name: string) =>
  JSON.parse(readFileSync(new URL(`../vectors/audit/${name}.json`, import.meta.url), 'utf8')) as T
const pinned = vector<{ vkey: string; note: string; leaf: string; leaf_hash: string; salt: string; body: string }>(
  'formats',
)
const key = fixedKey()

describe('signed notes', () => {
  test('verifier key, checkpoint, leaf and body hash are those of the pinned vector', () => {
    expect(vkey(origin, key)).toBe(pinned.vkey)
    expect(signNote(checkpointText({ origin, size: 1, root: leafHash(pinned.leaf) }), origin, key)).toBe(pinned.note)
    const leaf = parseLeaf(pinned.leaf)
    expect(leaf && leafText(leaf)).toBe(pinned.leaf)
    expect(leafHash(pinned.leaf).toString('hex')).toBe(pinned.leaf_hash)
    expect(bodyHash(Buffer.from(pinned.salt, 'hex'), pinned.body)).toBe(leaf?.body_hash)
  })

  test('a note opens with its own key and with no other', () => {
    const other = fixedKey(8)
    expect(openNote(pinned.note, parseVkey(pinned.vkey))).toBe(pinned.note.slice(0, pinned.note.indexOf('\n\n') + 1))
    expect(openNote(pinned.note, parseVkey(vkey(origin, other)))).toBeNull()
    expect(openNote(pinned.note, parseVkey(vkey('sallyport/other', key)))).toBeNull()
  })

  test('every changed byte of a note is noticed', () => {
    const verifier = parseVkey(pinned.vkey)
    const bytes = Buffer.from(pinned.note)
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes)
      changed[i]! ^= 1
      expect(openNote(changed.toString('utf8'), verifier), `byte ${i}`).toBeNull()
    }
    expect(openNote('', verifier)).toBeNull()
    expect(openNote('text\n\n— x\n', verifier)).toBeNull()
  })

  test('a signature of somebody else beside ours is passed over', () => {
    const theirs = signNote(pinned.note.slice(0, pinned.note.indexOf('\n\n') + 1), 'witness.example', fixedKey(9))
    expect(openNote(pinned.note + theirs.slice(theirs.indexOf('— ')), parseVkey(pinned.vkey))).not.toBeNull()
  })

  test('a note for another log signed by the same key is no checkpoint of ours', () => {
    const text = checkpointText({ origin: 'sallyport/another', size: 0, root: emptyRoot })
    expect(openCheckpoint(signNote(text, origin, key), parseVkey(pinned.vkey))).toBeNull()
  })

  test('names and keys that do not fit are refused', () => {
    expect(() => vkey('two words', key)).toThrow('no space and no +')
    expect(() => parseVkey('x')).toThrow('no verifier key')
    expect(() => parseVkey(pinned.vkey.replace(/\+[0-9a-f]{8}\+/, '+00000000+'))).toThrow('does not belong')
    expect(() => vkey(origin, generateKeyPairSync('x25519').privateKey)).toThrow('Ed25519')
    for (const text of [
      '',
      'o\n-1\n',
      'o\n01\n',
      `o\n${'9'.repeat(16)}\n${emptyRoot.toString('base64')}\n`,
      'o\n1\nAAAA\n',
    ])
      expect(parseCheckpoint(text)).toBeNull()
  })
})

describe('bodies', () => {
  test('a body carries id and subject, and refuses to say two things', () => {
    expect(bodyText('evt_1', { type: 'vote.cast', body: { b: 1 }, resource: 'shop-db' })).toBe(
      '{"b":1,"id":"evt_1","resource":"shop-db"}',
    )
    expect(() => bodyText('evt_1', { type: 'vote.cast', body: { resource: 'other' }, resource: 'shop-db' })).toThrow(
      'two things about its resource',
    )
    expect(() => bodyText('evt_1', { type: 'vote.cast', body: { text: 'x'.repeat(70_000) } })).toThrow('larger than')
  })

  test('a leaf that is not canonical is no leaf', () => {
    expect(parseLeaf(pinned.leaf.replace('{', '{ '))).toBeNull()
    expect(parseLeaf(pinned.leaf.replace('"v":1', '"v":2'))).toBeNull()
    expect(parseLeaf('null')).toBeNull()
    expect(parseLeaf('{')).toBeNull()
  })
})

describe('tiles', () => {
  test('paths are those of tlog-tiles, both ways, and nothing else is one', () => {
    for (const [address, path] of [
      [{ level: 0, n: 0, width: 256 }, 'tile/0/000'],
      [{ level: 1, n: 1234067, width: 256 }, 'tile/1/x001/x234/067'],
      [{ level: 2, n: 5, width: 112 }, 'tile/2/005.p/112'],
      [{ level: 'entries', n: 1000, width: 3 }, 'tile/entries/x001/000.p/3'],
    ] as const) {
      expect(tilePath(address)).toBe(path)
      expect(parseTilePath(path)).toEqual(address)
    }
    for (const path of [
      'tile/0/0',
      'tile/0/x000/001',
      'tile/0/000.p/256',
      'tile/0/000.p/0',
      'tile/0/000.p/01',
      'tile/00/000',
      'tile/9/000',
      'tile/0/../000',
      '',
      'tile/entries/000/',
    ]) {
      expect(parseTilePath(path), path).toBeNull()
    }
  })

  test('an entry bundle holds each entry behind its length', () => {
    expect(entryBundle(['ab', 'ü']).toString('hex')).toBe('0002616200' + '02c3bc')
  })

  test('a tile that is too short is an error, not a wrong root', async () => {
    const read = nodesFrom(async () => Buffer.alloc(32 * 3))
    await expect(read({ level: 1, n: 1 })).rejects.toThrow('tile 0/0 is too short')
  })
})
