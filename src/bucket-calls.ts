import { readFileSync } from 'node:fs'
import type { S3Client } from '@aws-sdk/client-s3'
import type { BucketSettings } from './config.ts'
import { SallyportError } from './errors.ts'
import { secretRef } from './keys.ts'

/** Does what it is given, within a time. @param what in words: `read KEY`. */
export type BoundedCall = <X>(run: (signal: AbortSignal) => Promise<X>, what: string, ms?: number) => Promise<X>

/** INVARIANT: nothing waits for the service for longer than its time, and no fault shows a credential or a header. */
export function boundedCalls(bucket: string, usualMs: number): BoundedCall {
  return async (run, what, ms = usualMs) => {
    const limit = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        limit.abort()
        reject(new SallyportError('bucket_unavailable', `${bucket} did not ${what} within ${ms / 1000} s`))
      }, ms)
    })
    try {
      return await Promise.race([run(limit.signal), late])
    } catch (error) {
      throw faultOf(error, `${bucket} did not ${what}`)
    } finally {
      clearTimeout(timer)
    }
  }
}

/** The name is taken, or somebody else is just taking it. */
class Taken extends SallyportError {
  constructor(message: string) {
    super('conflict', message)
  }
}

export const isTaken = (error: unknown): boolean => error instanceof Taken

const absent = [
  'NoSuchKey',
  'NotFound',
  'NoSuchVersion',
  'NoSuchObjectLockConfiguration',
  'ObjectLockConfigurationNotFoundError',
]

function faultOf(error: unknown, what: string): unknown {
  if (error instanceof SallyportError || error instanceof RangeError) return error
  const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
  const status = $metadata?.httpStatusCode
  const said = `${what}: ${name}${message === '' || message === 'UnknownError' ? '' : ` (${message.slice(0, 300)})`}`
  if (status === 412 || status === 409) return new Taken(said)
  if (absent.includes(name)) return new SallyportError('not_found', said)
  return new SallyportError('bucket_unavailable', said, { facts: { status: status ?? null, error: name } })
}

/** @throws SallyportError `bad_config` for a service that would be asked over plain http, or half a credential. */
export function checkWay({ bucket, endpoint, access_key, secret_key }: BucketSettings): void {
  const url = endpoint === undefined ? undefined : new URL(endpoint)
  if (url?.protocol === 'http:' && !['localhost', '127.0.0.1', '[::1]'].includes(url.hostname))
    throw new SallyportError('bad_config', `the bucket ${bucket} would be asked over plain http, at ${url.hostname}`, {
      remedy: 'use https; `ca` names who vouches for a certificate of your own',
    })
  if (url !== undefined && url.username !== '')
    throw new SallyportError('bad_config', `a credential stands in the endpoint of the bucket ${bucket}`, {
      remedy: 'name it as access_key and secret_key',
    })
  if ((access_key === undefined) !== (secret_key === undefined))
    throw new SallyportError('bad_config', `the bucket ${bucket} has one of access_key and secret_key`, {
      remedy: 'give both, or none where the credentials of the machine are meant',
    })
}

export function makeClient(sdk: typeof import('@aws-sdk/client-s3'), settings: BucketSettings): S3Client {
  const { endpoint, region, path_style, access_key, secret_key, ca } = settings
  const tls = ca === undefined ? {} : { ca: readFileSync(ca, 'utf8') }
  return new sdk.S3Client({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    forcePathStyle: path_style ?? false,
    maxAttempts: 3,
    requestHandler: {
      connectionTimeout: 3_000,
      requestTimeout: 10_000,
      throwOnRequestTimeout: true,
      httpsAgent: { maxSockets: 32, keepAlive: true, ...tls },
      httpAgent: { maxSockets: 32, keepAlive: true },
    },
    ...(access_key === undefined || secret_key === undefined
      ? {}
      : {
          credentials: {
            accessKeyId: secretRef(access_key).reveal(),
            secretAccessKey: secretRef(secret_key).reveal(),
          },
        }),
  })
}
