import { createHash } from 'node:crypto'
import type { S3Client } from '@aws-sdk/client-s3'
import { type BoundedCall, boundedCalls, checkWay, isTaken, makeClient } from './bucket-calls.ts'
import type { BucketSettings } from './config.ts'
import { SallyportError } from './errors.ts'

/** An object, or one version of it. */
export interface Listed {
  readonly key: string
  readonly bytes: number
}
export interface ListedVersion extends Listed {
  readonly version: string
  readonly latest: boolean
  /** A marker says that the object was deleted; it has no bytes. */
  readonly marker: boolean
}

export interface Lock {
  readonly until_ms: number | null
  readonly hold: boolean
}

type Sdk = typeof import('@aws-sdk/client-s3')

/** Objects above this are sent in parts of this size, each with its own checksum. */
const partBytes = 8 * 1024 * 1024
const deletedAtOnce = 1000

/**
 * A bucket behind the official SDK, in the few words that we need. Every call has an end in time, whatever the service
 * does; each object is sent with its SHA-256, which the service verifies before it answers.
 */
export class Bucket {
  /** How people call it: `s3://bucket/prefix`. */
  readonly name: string
  readonly #sdk: Sdk
  readonly #client: S3Client
  readonly #where: { readonly Bucket: string }
  readonly #prefix: string
  readonly #callMs: number
  readonly #call: BoundedCall

  private constructor(sdk: Sdk, client: S3Client, settings: BucketSettings) {
    this.#sdk = sdk
    this.#client = client
    this.#where = bucketCalled(settings.bucket)
    this.#prefix = settings.prefix ?? ''
    this.#callMs = (settings.timeout_s ?? 30) * 1000
    this.name = `s3://${settings.bucket}/${this.#prefix}`
    this.#call = boundedCalls(this.name, this.#callMs)
  }

  /**
   * The SDK is loaded here and not before: a deployment without a bucket does not hold it in memory.
   * @throws SallyportError `bad_config` for a service that would be asked over plain http, or half a credential.
   */
  static async open(settings: BucketSettings): Promise<Bucket> {
    checkWay(settings)
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true' // which runtimes we support is said by us
    const sdk = await import('@aws-sdk/client-s3')
    return new Bucket(sdk, makeClient(sdk, settings), settings)
  }

  close(): void {
    this.#client.destroy()
  }

  /**
   * Puts an object. With `onlyNew` nothing is ever laid over what is there: the same bytes again are fine, others are refused.
   * @throws SallyportError `conflict` for other bytes under a name that is taken.
   */
  async put(key: string, bytes: Buffer, options: { readonly onlyNew?: boolean } = {}): Promise<void> {
    const common = {
      ...this.#where,
      Key: this.#prefix + key,
      Body: bytes,
      ...(options.onlyNew === true ? { IfNoneMatch: '*' } : {}),
    }
    try {
      if (bytes.length > partBytes) await this.#putParts(common)
      else await this.#call(s => this.#client.send(this.#put(common, bytes), { abortSignal: s }), `put ${key}`)
    } catch (error) {
      if (!isTaken(error)) throw error
      const there = await this.#checksum(key)
      if (there === checksumOf(bytes)) return
      throw new SallyportError('conflict', `${this.name}${key} is there already, with other bytes`, {
        remedy: 'nothing was overwritten; find out who else writes into this bucket',
      })
    }
  }

  #put(common: { Bucket: string; Key: string; Body: Buffer }, bytes: Buffer) {
    return new this.#sdk.PutObjectCommand({ ...common, ChecksumSHA256: sha256(bytes).toString('base64') })
  }

  async #putParts(params: { Bucket: string; Key: string; Body: Buffer }): Promise<void> {
    const { Upload } = await import('@aws-sdk/lib-storage')
    const upload = new Upload({
      client: this.#client,
      params: { ...params, ChecksumAlgorithm: 'SHA256' },
      partSize: partBytes,
      queueSize: 4,
    })
    const parts = Math.ceil(params.Body.length / partBytes)
    await this.#call(
      signal => {
        signal.addEventListener('abort', () => void upload.abort().catch(() => {}), { once: true })
        return upload.done()
      },
      `put ${params.Key}`,
      this.#callMs * Math.max(1, parts / 4),
    )
  }

  /**
   * Reads an object, or one version of it.
   * @throws SallyportError `not_found` when there is none; RangeError when it is longer than `maxBytes`.
   */
  get(key: string, maxBytes: number, version?: string): Promise<Buffer> {
    const command = new this.#sdk.GetObjectCommand({
      ...this.#where,
      Key: this.#prefix + key,
      ...(version === undefined ? {} : { VersionId: version }),
    })
    return this.#call(async signal => {
      const { Body } = await this.#client.send(command, { abortSignal: signal })
      const body = Body as unknown as AsyncIterable<Buffer> & { destroy(error?: Error): void }
      const stop = () => body.destroy(new Error('it took too long'))
      signal.addEventListener('abort', stop, { once: true })
      const chunks: Buffer[] = []
      let bytes = 0
      for await (const chunk of body) {
        bytes += chunk.length
        if (bytes > maxBytes) {
          body.destroy()
          throw new RangeError(`${key} has more than ${maxBytes} bytes`)
        }
        chunks.push(chunk)
      }
      if (signal.aborted) throw new Error('it took too long')
      return Buffer.concat(chunks, bytes)
    }, `read ${key}`)
  }

  /** The SHA-256 of an object as the service knows it; null when there is none, or when it keeps no such checksum. */
  async sha256(key: string): Promise<string | null> {
    const checksum = await this.#checksum(key)
    return checksum === null || checksum.includes('-') ? null : Buffer.from(checksum, 'base64').toString('hex')
  }

  async #checksum(key: string): Promise<string | null> {
    const command = new this.#sdk.HeadObjectCommand({
      ...this.#where,
      Key: this.#prefix + key,
      ChecksumMode: 'ENABLED',
    })
    try {
      const head = await this.#call(s => this.#client.send(command, { abortSignal: s }), `look at ${key}`)
      return head.ChecksumSHA256 ?? null
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'not_found') return null
      throw error
    }
  }

  /** What is there now, below a beginning of names. */
  async *list(beginning: string): AsyncGenerator<Listed> {
    let token: string | undefined
    do {
      const command = new this.#sdk.ListObjectsV2Command({
        ...this.#where,
        Prefix: this.#prefix + beginning,
        ContinuationToken: token,
      })
      const page = await this.#call(s => this.#client.send(command, { abortSignal: s }), 'list')
      for (const { Key, Size } of page.Contents ?? []) yield { key: this.#own(Key), bytes: Size ?? 0 }
      if (page.NextContinuationToken !== undefined && page.NextContinuationToken === token) throw this.#inCircles()
      token = page.NextContinuationToken
    } while (token !== undefined && token !== '')
  }

  /** Every version and every delete marker below a beginning of names. */
  async *versions(beginning: string): AsyncGenerator<ListedVersion> {
    let at: { key: string; version: string | undefined } | undefined
    do {
      const command = new this.#sdk.ListObjectVersionsCommand({
        ...this.#where,
        Prefix: this.#prefix + beginning,
        ...(at === undefined ? {} : { KeyMarker: at.key, VersionIdMarker: at.version }),
      })
      const page = await this.#call(s => this.#client.send(command, { abortSignal: s }), 'list versions')
      const listed = (
        entry: {
          Key?: string | undefined
          VersionId?: string | undefined
          IsLatest?: boolean | undefined
          Size?: number | undefined
        },
        marker: boolean,
      ) => ({
        key: this.#own(entry.Key),
        version: entry.VersionId ?? 'null',
        latest: entry.IsLatest === true,
        bytes: entry.Size ?? 0,
        marker,
      })
      for (const entry of page.Versions ?? []) yield listed(entry, false)
      for (const entry of page.DeleteMarkers ?? []) yield listed(entry, true)
      const next =
        page.IsTruncated === true && page.NextKeyMarker !== undefined
          ? { key: page.NextKeyMarker, version: page.NextVersionIdMarker }
          : undefined
      if (next !== undefined && next.key === at?.key && next.version === at.version) throw this.#inCircles()
      at = next
    } while (at !== undefined)
  }

  /** Removes these versions for ever. @returns those that the service would not remove, with its word for why. */
  async remove(
    versions: readonly Pick<ListedVersion, 'key' | 'version'>[],
  ): Promise<{ key: string; version: string; why: string }[]> {
    const kept: { key: string; version: string; why: string }[] = []
    for (let i = 0; i < versions.length; i += deletedAtOnce) {
      const command = new this.#sdk.DeleteObjectsCommand({
        ...this.#where,
        Delete: {
          Quiet: true,
          Objects: versions
            .slice(i, i + deletedAtOnce)
            .map(({ key, version }) => ({ Key: this.#prefix + key, VersionId: version })),
        },
      })
      const { Errors = [] } = await this.#call(s => this.#client.send(command, { abortSignal: s }), 'delete')
      for (const { Key, VersionId, Code } of Errors) {
        if (Code === 'NoSuchKey' || Code === 'NoSuchVersion') continue
        kept.push({ key: this.#own(Key), version: VersionId ?? 'null', why: Code ?? 'unknown' })
      }
    }
    return kept
  }

  /** Gives up uploads in parts that nobody finished: their bytes lie there, although no list of objects shows them. */
  async abortUploads(beginning: string): Promise<void> {
    const which = { ...this.#where, Prefix: this.#prefix + beginning }
    for (let last: string | undefined; ; ) {
      const command = new this.#sdk.ListMultipartUploadsCommand(which)
      const page = await this.#call(s => this.#client.send(command, { abortSignal: s }), 'list uploads')
      for (const { Key, UploadId } of page.Uploads ?? []) {
        const abort = new this.#sdk.AbortMultipartUploadCommand({ ...this.#where, Key, UploadId })
        await this.#call(s => this.#client.send(abort, { abortSignal: s }), 'abort an upload')
      }
      if (page.IsTruncated !== true) return
      const first = page.Uploads?.[0]?.UploadId
      if (first === undefined || first === last) throw this.#inCircles()
      last = first
    }
  }

  /** Whether the bucket can lock its objects. */
  async locks(): Promise<boolean> {
    const command = new this.#sdk.GetObjectLockConfigurationCommand({ ...this.#where })
    try {
      const found = await this.#call(s => this.#client.send(command, { abortSignal: s }), 'look at the object lock')
      return found.ObjectLockConfiguration?.ObjectLockEnabled === 'Enabled'
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'not_found') return false
      throw error
    }
  }

  /**
   * Locks one version in compliance mode: until then nobody removes it, whoever they are. A lock that lasts longer stays.
   * @returns until when it is locked now.
   */
  async retain(key: string, version: string, until_ms: number): Promise<number> {
    const which = { ...this.#where, Key: this.#prefix + key, VersionId: version }
    const until = Math.ceil(until_ms / 1000) * 1000
    const command = new this.#sdk.PutObjectRetentionCommand({
      ...which,
      Retention: { Mode: 'COMPLIANCE', RetainUntilDate: new Date(until) },
    })
    try {
      await this.#call(s => this.#client.send(command, { abortSignal: s }), `lock ${key}`)
      return until
    } catch (error) {
      const { until_ms: longer } = await this.lockOf(key, version)
      if (longer !== null && longer >= until) return longer
      throw error
    }
  }

  async hold(key: string, version: string, on: boolean): Promise<void> {
    const command = new this.#sdk.PutObjectLegalHoldCommand({
      ...this.#where,
      Key: this.#prefix + key,
      VersionId: version,
      LegalHold: { Status: on ? 'ON' : 'OFF' },
    })
    await this.#call(s => this.#client.send(command, { abortSignal: s }), `hold ${key}`)
  }

  async lockOf(key: string, version: string): Promise<Lock> {
    const which = { ...this.#where, Key: this.#prefix + key, VersionId: version }
    const asked = async <X>(run: (signal: AbortSignal) => Promise<X>): Promise<X | null> => {
      try {
        return await this.#call(run, `look at the lock of ${key}`)
      } catch (error) {
        if (error instanceof SallyportError && error.code === 'not_found') return null
        throw error
      }
    }
    const retention = await asked(s =>
      this.#client.send(new this.#sdk.GetObjectRetentionCommand(which), { abortSignal: s }),
    )
    const hold = await asked(s => this.#client.send(new this.#sdk.GetObjectLegalHoldCommand(which), { abortSignal: s }))
    return {
      until_ms: retention?.Retention?.RetainUntilDate?.getTime() ?? null,
      hold: hold?.LegalHold?.Status === 'ON',
    }
  }

  /** INVARIANT: no list is without an end, whatever the service says of its pages. */
  #inCircles(): SallyportError {
    return new SallyportError('bucket_unavailable', `${this.name} lists the same page again and again`)
  }

  #own(key: string | undefined): string {
    if (key?.startsWith(this.#prefix) !== true)
      throw new SallyportError('bucket_unavailable', `${this.name} lists an object that is not below its prefix`)
    return key.slice(this.#prefix.length)
  }
}

/** Outside of the class: the compiler (7.0.2) writes `_a` for a member of a literal that is called as the class it stands in. */
const bucketCalled = (name: string) => ({ Bucket: name })

const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest()

/** The checksum that the service gives to these bytes when they come as `put` sends them. */
function checksumOf(bytes: Buffer): string {
  if (bytes.length <= partBytes) return sha256(bytes).toString('base64')
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; at += partBytes) parts.push(sha256(bytes.subarray(at, at + partBytes)))
  return `${sha256(Buffer.concat(parts)).toString('base64')}-${parts.length}`
}
