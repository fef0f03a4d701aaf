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
