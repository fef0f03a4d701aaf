import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import { type KeepingStore, segmentName } from '../../src/recording/store.ts'

export function segment(recording: string, n: number, bytes: Buffer): string {
  return segmentName(recording, 1, n, createHash('sha256').update(bytes).digest('hex'))
}

/** What every store must do, whatever it stands on. */
export function runStoreTests(name: string, open: () => Promise<KeepingStore>): void {
  describe(`a store on ${name}`, () => {
    test('gives back what was put, byte for byte, and its hash', async () => {
      const store = await open()
      const recording = newId('rec')
      for (const bytes of [Buffer.alloc(0), Buffer.from('x'), randomBytes(300_000)]) {
        const key = segment(recording, bytes.length, bytes)
        await store.put(key, bytes)
        expect((await store.get(key, bytes.length)).equals(bytes)).toBe(true)
        expect(await store.hash(key)).toBe(createHash('sha256').update(bytes).digest('hex'))
      }
      expect(await store.list(recording)).toHaveLength(3)
    })

    test('takes the same bytes under the same name again, also at the same moment', async () => {
      const store = await open()
      const bytes = randomBytes(1000)
      const key = segment(newId('rec'), 0, bytes)
      await Promise.all([store.put(key, bytes), store.put(key, bytes), store.put(key, bytes)])
      await store.put(key, bytes)
      expect((await store.get(key, 1000)).equals(bytes)).toBe(true)
      expect(await store.list(key.split('/')[0]!)).toEqual([key])
    })

    test('carries what is larger than one call takes', async () => {
      const store = await open()
      const bytes = randomBytes(17 * 1024 * 1024 + 5)
      const key = segment(newId('rec'), 0, bytes)
      await store.put(key, bytes)
      await store.put(key, bytes)
      expect((await store.get(key, bytes.length)).equals(bytes)).toBe(true)
      expect(await store.hash(key)).toBe(createHash('sha256').update(bytes).digest('hex'))
    })

    test('never reads more than it was told to', async () => {
      const store = await open()
      const bytes = randomBytes(5000)
      const key = segment(newId('rec'), 0, bytes)
      await store.put(key, bytes)
      await expect(store.get(key, 4999)).rejects.toThrow(/more than 4999|has 5000/)
    })

    test('says that nothing is there, and clears what is not there', async () => {
      const store = await open()
      const recording = newId('rec')
      const key = segment(recording, 0, Buffer.from('never put'))
      await expect(store.get(key, 10)).rejects.toThrow()
      expect(await store.hash(key)).toBeNull()
      expect(await store.list(recording)).toEqual([])
      await store.removeRecording(recording)
    })

    test('clears one recording and no other, twice as well as once', async () => {
      const store = await open()
      const [gone, stays] = [newId('rec'), newId('rec')]
      const bytes = randomBytes(100)
      for (const recording of [gone, stays])
        for (let n = 0; n < 3; n++) await store.put(segment(recording, n, bytes), bytes)
      await store.removeRecording(gone)
      await store.removeRecording(gone)
      expect(await store.list(gone)).toEqual([])
      expect(await store.list(stays)).toHaveLength(3)
      await expect(store.get(segment(gone, 0, bytes), 100)).rejects.toThrow()
    })

    test('refuses names that would lead out of it', async () => {
      const store = await open()
      for (const name of ['../x', `${newId('rec')}/../../x`, '/etc/passwd', `${newId('rec')}/1-000000-zz.seg`, '']) {
        await expect(async () => store.put(name, Buffer.from('x'))).rejects.toThrow(/no name of a segment/)
        await expect(async () => store.get(name, 10)).rejects.toThrow(/no name of a segment/)
      }
      await expect(async () => store.removeRecording('..')).rejects.toThrow(/no recording/)
      await expect(async () => store.list('')).rejects.toThrow(/no recording/)
    })
  })
}
