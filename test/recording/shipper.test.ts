import { createSecretKey } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Catalog } from '../../src/recording/catalog.ts'
import type { JournalWriter } from '../../src/recording/journal-writer.ts'
import { PartQueue } from '../../src/recording/part-queue.ts'
import { Shipper } from '../../src/recording/shipper.ts'
import type { Store } from '../../src/recording/store.ts'

const part = (i: number) =>
  new PartQueue({
    recording_id: 'rec_1',
    part: i,
    part_id: Buffer.alloc(16, i),
    session_id: 'ses_1',
    layer: 'masked',
    key: createSecretKey(Buffer.alloc(32)),
  })

test('one that never arrives while others do is an alarm too, until it does', async () => {
  let broken = true
  const catalog = {
    head: async () => ({ n: 0, hash: '', last_seq: 0 }),
    endPart: async () => true,
    insertSegment: async ({ part }: { part: number }) => {
      if (part === 1 && broken) throw new Error('it contradicts what is there')
      return true
    },
  }
  const alarms: (string | null)[] = []
  const shipper = new Shipper({
    store: { put: async () => {} } as unknown as Store,
    catalog: catalog as unknown as Catalog,
    writer: { release() {} } as unknown as JournalWriter,
    onAlarm: reason => alarms.push(reason),
    cutMs: 10,
    alarmMs: 300,
  })
  const [one, two] = [part(1), part(2)]
  for (const queue of [one, two]) shipper.add(queue)
  const say = (queue: PartQueue, seq: number) =>
    shipper.wrote(queue, { first_seq: seq, last_seq: seq, events: Buffer.alloc(100), at: { file: 1, offset: 16 } })
  say(one, 1)
  for (let seq = 1; alarms.length === 0 && seq < 100; seq++) {
    say(two, seq)
    await sleep(50)
  }
  expect(alarms).toEqual([expect.stringMatching(/not been shipped .* \(rec_1\): it contradicts what is there/)])
  expect(shipper.alarm).toBe(alarms[0])
  expect(two.head.last_seq).toBeGreaterThan(0)
  broken = false
  await expect.poll(() => alarms.at(-1)).toBeNull()
  expect(one.head.last_seq).toBe(1)
  await shipper.stop()
})

test('parts that fail before they wait for anything are tried again later, and hold up nothing else', async () => {
  let tries = 0
  const catalog = {
    head() {
      if (++tries > 100) return new Promise(() => {}) // it was tried for ever
      throw new Error('away')
    },
  }
  const shipper = new Shipper({
    store: {} as Store,
    catalog: catalog as unknown as Catalog,
    writer: { release() {} } as unknown as JournalWriter,
  })
  for (const i of [1, 2]) {
    const queue = part(i)
    queue.uncertain = true
    shipper.add(queue)
    shipper.end(queue, 'clean', 'done')
  }
  await sleep(150)
  expect(tries).toBeLessThanOrEqual(2)
  await shipper.stop()
})
