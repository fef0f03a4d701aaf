import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { readOperation } from '../../../src/protocols/ssh/sftp/operations.ts'
import { encodePacket } from '../../../src/protocols/ssh/sftp/packets.ts'
import { SftpTracker } from '../../../src/protocols/ssh/sftp/tracker.ts'
import { Transfer } from '../../../src/protocols/ssh/sftp/transfer.ts'

const MiB = 1024 * 1024
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const kept = () => {
  collect()
  return process.memoryUsage().arrayBuffers
}

/** Memory outside the heap is given back by a thread of its own, some time after the collection. */
const settles = { timeout: 20_000, interval: 100 }

function openFile(tracker: SftpTracker, handle: Buffer): void {
  const [init] = tracker.fromClient(encodePacket({ type: 'init', version: 3, extensions: [] }))
  tracker.pass(init!)
  tracker.fromTarget(encodePacket({ type: 'version', version: 3, extensions: [] }))
  const open = { type: 'open', id: 1, path: Buffer.from('/f'), flags: 10, attributes: {} } as const
  const [request] = tracker.fromClient(encodePacket(open))
  tracker.pass(request!)
  tracker.fromTarget(encodePacket({ type: 'handle', id: 1, handle }))
}

describe('who reads no answers', () => {
  test('makes the gateway keep none of what was written', async () => {
    const tracker = new SftpTracker()
    const handle = Buffer.from('0000')
    openFile(tracker, handle)
    const before = kept()
    for (let id = 2; id < 258; id++) {
      const data = Buffer.alloc(255 * 1024, id)
      const write = { type: 'write', id, handle, offset: BigInt((id - 2) * data.length), data: [data] } as const
      for (const request of tracker.fromClient(encodePacket(write))) tracker.pass(request)
    }
    await expect.poll(() => kept() - before, settles).toBeLessThan(8 * MiB)
    expect(tracker.end()).toMatchObject([{ size: 256 * 255 * 1024, gaps: false }])
  })

  test('has its channel closed when the paths of what it opens pile up', () => {
    const tracker = new SftpTracker()
    openFile(tracker, Buffer.from('0000'))
    const path = Buffer.from(`/${'x'.repeat(16_000)}`)
    expect(() => {
      for (let id = 2; id < 100; id++)
        for (const request of tracker.fromClient(encodePacket({ type: 'opendir', id, path }))) tracker.pass(request)
    }).toThrow('too many requests at once')
  })
})

test('pieces that come too early are kept up to one bound for all files, and give their place back', async () => {
  const before = kept()
  const transfers = Array.from({ length: 60 }, () => new Transfer())
  for (const transfer of transfers) {
    transfer.take(0n, [Buffer.from('x')])
    for (let n = 1; n <= 15; n++) transfer.take(BigInt(n * MiB), [Buffer.alloc(MiB / 4, n)])
  }
  await expect.poll(() => kept() - before, settles).toBeLessThan(72 * MiB)
  expect(transfers.filter(transfer => transfer.gaps).length).toBeGreaterThan(30)
  for (const transfer of transfers) expect(transfer.end().gaps).toBe(true)
  const later = new Transfer()
  later.take(0n, [Buffer.from('a')])
  later.take(2n, [Buffer.from('c')])
  later.take(1n, [Buffer.from('b')])
  expect(later.end()).toMatchObject({ size: 3, gaps: false })
})

test('a file that is created with the right to run as its owner is more than written', () => {
  const asked = (permissions: number) =>
    readOperation(
      { type: 'open', id: 1, path: Buffer.from('/f'), flags: 10, attributes: { permissions } },
      { home: undefined, path: () => undefined },
    )
  expect(asked(0o4755)).toMatchObject({ ask: { verb: 'admin' } })
  expect(asked(0o755)).toMatchObject({ ask: { verb: 'write' } })
})
