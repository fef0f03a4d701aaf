import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Bucket } from '../../src/bucket.ts'
import type { BucketSettings } from '../../src/config.ts'
import { newId } from '../../src/ids.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { LayeredStore } from '../../src/recording/layered-store.ts'
import { openStore } from '../../src/recording/open-store.ts'
import { S3Store } from '../../src/recording/s3-store.ts'
import { StoreLocked } from '../../src/recording/store.ts'
import { startFrailServer } from '../support/frail-server.ts'
import { type S3Server, startVersitygw } from '../support/versitygw.ts'
import { runStoreTests, segment } from './store-suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-stores-'))
let server: S3Server
let settings: BucketSettings
let store: S3Store
beforeAll(async () => {
  server = await startVersitygw()
  settings = await server.bucket('recordings')
  store = await s3('sallyport/')
})
afterAll(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function s3(prefix: string, more: Partial<BucketSettings> = {}): Promise<S3Store> {
  return new S3Store(await Bucket.open({ ...settings, prefix, ...more }), { locks: true, max_lock_days: 400 })
}

runStoreTests('files', async () => new FileStore(join(folder, 'store')))
runStoreTests('a bucket', async () => store)
runStoreTests('a bucket that a move has not emptied, and files', async () => {
  return new LayeredStore(new FileStore(join(folder, 'layered')), [await s3('layered/')])
})

describe('a bucket', () => {
  const sdk = () => server.client()
  const under = (recording: string) => ({ Bucket: settings.bucket, Prefix: `sallyport/${recording}/` })

  async function versions(recording: string): Promise<number> {
    const found = await sdk().send(new ListObjectVersionsCommand(under(recording)))
    return (found.Versions?.length ?? 0) + (found.DeleteMarkers?.length ?? 0)
  }

  test('gets each segment once: a second try makes no second version', async () => {
    const bytes = randomBytes(500)
    const recording = newId('rec')
    for (let i = 0; i < 3; i++) await store.put(segment(recording, 0, bytes), bytes)
    expect(await versions(recording)).toBe(1)
  })

  test('what was laid over a segment, or marked as deleted, hides it from nobody', async () => {
    const bytes = randomBytes(500)
    const recording = newId('rec')
    const key = segment(recording, 0, bytes)
    await store.put(key, bytes)
    const object = { Bucket: settings.bucket, Key: `sallyport/${key}` }
    await sdk().send(new PutObjectCommand({ ...object, Body: 'forged' }))
    expect((await store.get(key, 500)).equals(bytes)).toBe(true)
    expect(await store.hash(key)).toMatch(/^[0-9a-f]{64}$/)
    await sdk().send(new DeleteObjectCommand(object))
    expect((await store.get(key, 500)).equals(bytes)).toBe(true)
    expect(await store.list(recording)).toEqual([key])
  })

  test('a name that somebody else took first is used all the same, beside what they put', async () => {
    const bytes = randomBytes(500)
    const recording = newId('rec')
    const key = segment(recording, 0, bytes)
    await sdk().send(new PutObjectCommand({ Bucket: settings.bucket, Key: `sallyport/${key}`, Body: 'squatter' }))
    await store.put(key, bytes)
    expect((await store.get(key, 500)).equals(bytes)).toBe(true)
  })

  test('RT1: a recording goes with every version, every delete marker and every upload that nobody finished', async () => {
    const bytes = randomBytes(500)
    const recording = newId('rec')
    const key = segment(recording, 0, bytes)
    const object = { Bucket: settings.bucket, Key: `sallyport/${key}` }
    await store.put(key, bytes)
    await sdk().send(new PutObjectCommand({ ...object, Body: 'other' }))
    await sdk().send(new DeleteObjectCommand(object))
    await sdk().send(new CreateMultipartUploadCommand({ Bucket: settings.bucket, Key: `sallyport/${recording}/left` }))
    expect(await versions(recording)).toBe(3)
    await store.removeRecording(recording)
    expect(await versions(recording)).toBe(0)
    const uploads = await sdk().send(new ListMultipartUploadsCommand(under(recording)))
    expect(uploads.Uploads ?? []).toEqual([])
  })

  test('RT2: what is locked in compliance mode nobody removes before its time; a lock grows and never shrinks', async () => {
    const bytes = randomBytes(500)
    const recording = newId('rec')
    await store.put(segment(recording, 0, bytes), bytes)
    const soon = Date.now() + 1_500
    const until = await store.keep(recording, { until_ms: soon, hold: false })
    expect(until).toBeGreaterThanOrEqual(soon)
    expect(await store.keep(recording, { until_ms: soon - 1_000, hold: false })).toBe(until)
    const refused = await store.removeRecording(recording).catch(error => error)
    expect(refused).toBeInstanceOf(StoreLocked)
    expect(refused.until_ms).toBe(until)
    await expect
      .poll(
        () =>
          store.removeRecording(recording).then(
            () => 'gone',
            error => error.code,
          ),
        { timeout: 8_000 },
      )
      .toBe('gone')
    expect(await versions(recording)).toBe(0)
  })

  test('RT2: a legal hold keeps what no lock keeps, until it is lifted', async () => {
    const bytes = randomBytes(500)
    const recording = newId('rec')
    await store.put(segment(recording, 0, bytes), bytes)
    await store.keep(recording, { until_ms: null, hold: true })
    const refused = await store.removeRecording(recording).catch(error => error)
    expect(refused).toBeInstanceOf(StoreLocked)
    expect(refused.until_ms).toBeNull()
    await store.keep(recording, { until_ms: null, hold: false })
    await store.removeRecording(recording)
    expect(await versions(recording)).toBe(0)
  })

  test('a lock for longer than the deployment allows is refused before anything is locked', async () => {
    const recording = newId('rec')
    await store.put(segment(recording, 0, Buffer.from('x')), Buffer.from('x'))
    const far = Date.now() + 401 * 86_400_000
    await expect(store.keep(recording, { until_ms: far, hold: false })).rejects.toMatchObject({ code: 'bad_config' })
    await store.removeRecording(recording)
  })

  test('works in the program as it is built: TypeScript 7.0.2 wrote `_a` for the member Bucket of a literal in the class Bucket', {
    timeout: 120_000,
  }, async () => {
    const root = resolve(import.meta.dirname, '../..')
    const built = spawnSync(process.execPath, [join(root, 'src/cli/build.js')], { encoding: 'utf8' })
    expect(built.stderr).toBe('')
    const program = (await import(join(root, 'dist/bucket.js'))) as { Bucket: typeof Bucket }
    const bucket = await program.Bucket.open({ ...settings, prefix: 'built/' })
    await bucket.put('x', Buffer.from('as it is built'), { onlyNew: true })
    expect((await bucket.get('x', 100)).toString()).toBe('as it is built')
    for await (const listed of bucket.versions('')) expect(listed.key).toBe('x')
    bucket.close()
  })

  test('one without object lock is refused at start where locks are asked for', async () => {
    const plain = await server.bucket('plain', { lock: false })
    const config = (object_lock: boolean) =>
      ({ data: folder, recording: { store: { kind: 's3', ...plain, object_lock } } }) as Parameters<typeof openStore>[0]
    await expect(openStore(config(true))).rejects.toMatchObject({ code: 'bad_config' })
    expect((await openStore(config(false))).locks).toBe(false)
  })
})

describe('a service that fails', () => {
  let frail: Awaited<ReturnType<typeof startFrailServer>>
  let through: S3Store
  const bytes = randomBytes(200_000)
  const recording = newId('rec')
  const key = segment(recording, 0, bytes)
  beforeAll(async () => {
    frail = await startFrailServer(server.endpoint)
    through = await s3('frail/', { endpoint: frail.url, timeout_s: 1 })
    await through.put(key, bytes)
  })
  afterAll(() => frail?.stop())

  for (const how of ['503', 'silent', 'slow', 'half a body', 'cut'] as const) {
    test(`"${how}": every call ends with a fault that says so, and works again afterwards`, {
      timeout: 8_000,
    }, async () => {
      frail.fail(how)
      const other = randomBytes(1000)
      const calls = {
        get: () => through.get(key, bytes.length),
        ...(how === 'slow' || how === 'half a body'
          ? {}
          : { put: () => through.put(segment(recording, 7, other), other) }),
        list: () => through.list(recording),
      }
      await Promise.all(
        Object.values(calls).map(call => expect(call()).rejects.toMatchObject({ code: 'bucket_unavailable' })),
      )
      frail.fail('none')
      expect((await through.get(key, bytes.length)).equals(bytes)).toBe(true)
    })
  }

  test('one that fails once is asked again', async () => {
    frail.fail('503', 1)
    expect((await through.get(key, bytes.length)).equals(bytes)).toBe(true)
    frail.fail('cut', 1)
    await through.put(segment(recording, 9, Buffer.from('x')), Buffer.from('x'))
    frail.fail('none')
  })

  test('no fault shows a credential', async () => {
    frail.fail('503')
    const error = await through.get(key, 10).catch(found => found)
    frail.fail('none')
    expect(JSON.stringify([error, error.message, error.facts, error.cause])).not.toMatch(/only-for-tests|AWS4-HMAC/)
  })
})
