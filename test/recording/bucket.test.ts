import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Bucket } from '../../src/bucket.ts'

let service: Server
let bucket: Bucket
let calls = 0
/** A service whose pages have no end. */
beforeAll(async () => {
  service = createServer((request, response) => {
    calls++
    const { searchParams: asked } = new URL(request.url!, 'http://service')
    const [name, body] = asked.has('versions')
      ? ['ListVersionsResult', '<NextKeyMarker>a</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>']
      : asked.has('uploads')
        ? ['ListMultipartUploadsResult', '<Upload><Key>a</Key><UploadId>u</UploadId></Upload>']
        : ['ListBucketResult', '<NextContinuationToken>t</NextContinuationToken>']
    response.writeHead(request.method === 'DELETE' ? 204 : 200, { 'content-type': 'application/xml' })
    response.end(request.method === 'DELETE' ? '' : `<${name}><IsTruncated>true</IsTruncated>${body}</${name}>`)
  })
  await new Promise<void>(resolve => service.listen(0, '127.0.0.1', resolve))
  process.env['TEST_BUCKET_KEY'] = 'a-key-of-the-test'
  bucket = await Bucket.open({
    bucket: 'evidence',
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${(service.address() as AddressInfo).port}`,
    path_style: true,
    access_key: 'env:TEST_BUCKET_KEY',
    secret_key: 'env:TEST_BUCKET_KEY',
  })
})
afterAll(async () => {
  bucket.close()
  await new Promise(resolve => service.close(resolve))
})

describe('a bucket', () => {
  test('whose service lists the same page again and again is given up, and nothing runs for ever', async () => {
    const all = async (pages: AsyncGenerator<unknown>) => {
      for await (const _ of pages);
    }
    for (const run of [() => all(bucket.list('')), () => all(bucket.versions('')), () => bucket.abortUploads('')])
      await expect(run()).rejects.toMatchObject({
        code: 'bucket_unavailable',
        message: expect.stringContaining('again'),
      })
    expect(calls).toBeLessThan(12)
  })

  test('is asked over https, but on this machine; no half of a credential sends the SDK looking for another', async () => {
    const open = (more: object) => Bucket.open({ bucket: 'evidence', region: 'us-east-1', ...more })
    const refused = { code: 'bad_config' }
    await expect(open({ endpoint: 'http://s3.example.com' })).rejects.toMatchObject(refused)
    await expect(open({ endpoint: 'http://127.0.0.1.example.com:9000' })).rejects.toMatchObject(refused)
    await expect(open({ endpoint: 'https://key:word@s3.example.com' })).rejects.toMatchObject(refused)
    await expect(open({ access_key: 'env:TEST_BUCKET_KEY' })).rejects.toMatchObject(refused)
    for (const endpoint of ['https://s3.example.com', 'http://[::1]:9000', 'http://localhost:9000'])
      (await open({ endpoint })).close()
  })
})
