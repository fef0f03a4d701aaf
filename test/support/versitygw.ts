import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import type { BucketSettings } from '../../src/config.ts'
import { spawnOnLifeline } from '../../src/db/lifeline.ts'
import { freePort } from '../../src/db/loopback.ts'

/** A real S3 server that is not ours, Apache-2.0, with versions and object lock on a folder. */
export const versitygwVersion = '1.8.0'
const module = `github.com/versity/versitygw/cmd/versitygw@v${versitygwVersion}`
const [accessVariable, secretVariable] = ['SALLYPORT_TEST_S3_ACCESS_KEY', 'SALLYPORT_TEST_S3_SECRET_KEY']
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true'
const access = { id: 'sallyport-test', secret: 'only-for-tests' }

/**
 * VERSITYGW_BIN, else the one in our cache, else one that Go builds into it, once.
 * @throws an Error that says which ways there are.
 */
export function findVersitygw(say: (line: string) => void = () => {}): string {
  const chosen = process.env['VERSITYGW_BIN']
  if (chosen) return chosen
  const cache = join(
    process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'),
    'sallyport',
    `versitygw-${versitygwVersion}`,
  )
  const cached = join(cache, 'versitygw')
  if (existsSync(cached)) return cached
  mkdirSync(cache, { recursive: true, mode: 0o700 })
  const draft = mkdtempSync(join(cache, 'draft-'))
  try {
    say(`building versitygw ${versitygwVersion} with Go, once; this takes some minutes`)
    const env = { ...process.env, GOBIN: draft, GOFLAGS: '', CGO_ENABLED: '0', GOTOOLCHAIN: 'local' }
    const built = spawnSync('go', ['install', module], { cwd: draft, env, encoding: 'utf8' })
    if (built.status !== 0) {
      throw new Error(
        `the tests need versitygw ${versitygwVersion}, and \`go install ${module}\` failed: ` +
          `${built.error?.message ?? built.stderr.slice(-600)}\nInstall Go 1.26 or later, or set VERSITYGW_BIN.`,
      )
    }
    renameSync(join(draft, 'versitygw'), cached) // whole or not at all, also where two build at once
    return cached
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

export interface S3Server {
  readonly endpoint: string
  /** Makes a bucket, with object lock and versions unless told otherwise, and says how to reach it. */
  bucket(name: string, options?: { readonly lock?: boolean }): Promise<BucketSettings>
  client(endpoint?: string): S3Client
  stop(): Promise<void>
}

/** Starts a server on a folder of its own; it ends with this process, whatever happens. */
export async function startVersitygw(): Promise<S3Server> {
  const binary = findVersitygw()
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-s3-'))
  for (const name of ['data', 'versions']) mkdirSync(join(folder, name))
  process.env[accessVariable] = access.id
  process.env[secretVariable] = access.secret
  const port = await freePort()
  const endpoint = `http://127.0.0.1:${port}`
  const argv = [
    binary,
    '--port',
    `127.0.0.1:${port}`,
    '--quiet',
    '--keep-alive',
    'posix',
    '--versioning-dir',
    join(folder, 'versions'),
    join(folder, 'data'),
  ]
  const run = spawnOnLifeline(argv, {
    ending: 'kill',
    cwd: folder,
    env: { PATH: process.env['PATH'], ROOT_ACCESS_KEY: access.id, ROOT_SECRET_KEY: access.secret },
    output: 'pipe',
  })
  let said = ''
  for (const stream of [run.child.stdout, run.child.stderr])
    stream?.on('data', chunk => (said = (said + chunk).slice(-2000)))
  const client = (at = endpoint) =>
    new S3Client({
      endpoint: at,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: access.id, secretAccessKey: access.secret },
    })
  let gone: number | null | undefined
  void run.exited.then(code => (gone = code))
  for (let tries = 0; ; tries++) {
    if (gone !== undefined || tries > 200) throw new Error(`versitygw does not answer: ${said}`)
    if (
      await fetch(endpoint).then(
        () => true,
        () => false,
      )
    )
      break
    await sleep(50)
  }
  return {
    endpoint,
    client,
    async bucket(name, { lock = true } = {}) {
      const sdk = client()
      await sdk.send(new CreateBucketCommand({ Bucket: name, ObjectLockEnabledForBucket: lock }))
      sdk.destroy()
      return {
        bucket: name,
        region: 'us-east-1',
        endpoint,
        path_style: true,
        access_key: `env:${accessVariable}`,
        secret_key: `env:${secretVariable}`,
      }
    },
    async stop() {
      run.cut()
      await run.exited
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
