import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findOpa, opaRelease, opaVersion } from '../../src/policy/opa-binary.ts'

// Stands in for the 60 MB program where only the way it gets here matters.
const script = (version: string) => `#!/bin/sh\necho 'Version: ${version}'\n`
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

let folder: string
let server: Server
let origin: string
let served: { status: number; body: string }
let asked: number

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-opa-'))
  asked = 0
  served = { status: 200, body: script(opaRelease.version) }
  server = createServer((_, response) => {
    asked++
    response.writeHead(served.status).end(served.body)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(() => {
  server.close()
  rmSync(folder, { recursive: true, force: true })
})

function command(name: string, text: string): string {
  mkdirSync(join(folder, 'bin'), { recursive: true })
  writeFileSync(join(folder, 'bin', name), text, { mode: 0o755 })
  return join(folder, 'bin', name)
}
// Standard programs without any Go: only our own folder, and /bin/sh by its absolute path.
const env = (more: NodeJS.ProcessEnv = {}) => ({
  PATH: join(folder, 'bin'),
  XDG_CACHE_HOME: join(folder, 'cache'),
  ...more,
})
const cached = (version: string = opaRelease.version) => join(folder, 'cache/sallyport', `opa-${version}`, 'opa')
const pinned = (body = served.body) => ({ SALLYPORT_OPA_URL: `${origin}/opa`, SALLYPORT_OPA_SHA256: sha256(body) })

describe('the opa command', () => {
  test('OPA_BIN is taken when its version is right, and refused by name when it is not', async () => {
    const right = command('mine', script(opaVersion))
    expect(await findOpa({ env: env({ OPA_BIN: right }) })).toBe(right)
    const wrong = command('other', script('0.9.0'))
    await expect(findOpa({ env: env({ OPA_BIN: wrong }) })).rejects.toMatchObject({
      code: 'bad_config',
      message: expect.stringContaining('0.9.0'),
    })
    await expect(findOpa({ env: env({ OPA_BIN: '/no/such/opa' }) })).rejects.toThrow(/no opa that runs/)
  })

  test('one on PATH is taken only in the right version', async () => {
    const path = command('opa', script(opaVersion))
    expect(await findOpa({ env: env() })).toBe(path)
    command('opa', script('1.0.0'))
    expect(await findOpa({ env: env(pinned()) })).toBe(cached())
  })

  test('a release with the pinned SHA-256 is downloaded once and found again', async () => {
    const lines: string[] = []
    expect(await findOpa({ env: env(pinned()), progress: line => lines.push(line) })).toBe(cached())
    expect(lines.join()).toContain(origin)
    expect(await findOpa({ env: env() })).toBe(cached())
    expect(asked).toBe(1)
  })

  test('two that start at once download once', async () => {
    await Promise.all([findOpa({ env: env(pinned()) }), findOpa({ env: env(pinned()) })])
    expect(asked).toBe(1)
  })

  test('another SHA-256 is refused, and nothing of it is kept or run', async () => {
    const ran = join(folder, 'ran')
    served.body = `#!/bin/sh\ntouch ${ran}\necho 'Version: ${opaRelease.version}'\n`
    await expect(findOpa({ env: env(pinned(script(opaRelease.version))) })).rejects.toThrow(
      /was refused: its SHA-256 is/,
    )
    expect(existsSync(ran)).toBe(false)
    expect(readdirSync(join(folder, 'cache/sallyport', `opa-${opaRelease.version}`))).toEqual([])
  })

  test('a mirror must serve the release whose SHA-256 is pinned here, when nobody pinned another', async () => {
    const mirror = { SALLYPORT_OPA_URL: `${origin}/opa` }
    await expect(findOpa({ env: env(mirror) })).rejects.toThrow(
      /was refused: its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}/,
    )
    expect(asked).toBe(1)
    expect(Object.values(opaRelease.sha256).every(hash => /^[0-9a-f]{64}$/.test(hash))).toBe(true)
    const wrong = { ...mirror, SALLYPORT_OPA_SHA256: 'abc' }
    await expect(findOpa({ env: env(wrong) })).rejects.toThrow(/SALLYPORT_OPA_SHA256 is not 64 hex digits/)
    expect(asked).toBe(1)
  })

  test('another version is downloaded only where it is named, pinned and one that this build was tested with', async () => {
    served.body = script(opaVersion)
    const named = { ...pinned(), SALLYPORT_OPA_VERSION: opaVersion }
    expect(await findOpa({ env: env(named) })).toBe(cached(opaVersion))
    rmSync(join(folder, 'cache'), { recursive: true })
    const untested = { ...pinned(), SALLYPORT_OPA_VERSION: '9.9.9' }
    await expect(findOpa({ env: env(untested) })).rejects.toThrow(/not tested with opa 9\.9\.9/)
  })

  test('a server that answers 404, or cannot be reached, is named', async () => {
    served.status = 404
    await expect(findOpa({ env: env(pinned()) })).rejects.toThrow(/answered 404/)
    server.close()
    server.closeAllConnections()
    await expect(findOpa({ env: env(pinned()) })).rejects.toThrow(/could not be downloaded from http:/)
  })

  test('the right bytes of the wrong version are refused', async () => {
    served.body = script('1.0.0')
    await expect(findOpa({ env: env(pinned()) })).rejects.toThrow(/says it is 1\.0\.0/)
    expect(existsSync(cached())).toBe(false)
  })

  test('Go that is recent builds it into the cache', async () => {
    command(
      'go',
      `#!/bin/sh\nif [ "$1" = env ]; then echo go1.26.0; else { echo '#!/bin/sh'; echo "echo 'Version: ${opaVersion}'"; } > "$GOBIN/opa"; /bin/chmod 755 "$GOBIN/opa"; fi\n`,
    )
    expect(await findOpa({ env: env() })).toBe(cached(opaVersion))
  })

  test('Go that is too old means a download; a build that fails and a platform without a pinned release each give one clear error', async () => {
    command('go', '#!/bin/sh\necho go1.22.1\n')
    expect(await findOpa({ env: env(pinned()) })).toBe(cached())
    rmSync(join(folder, 'cache'), { recursive: true })
    command('go', '#!/bin/sh\nif [ "$1" = env ]; then echo go1.27; else echo no route to proxy >&2; exit 1; fi\n')
    await expect(findOpa({ env: env() })).rejects.toThrow(/no route to proxy/)
    rmSync(join(folder, 'bin/go'))
    const platform = Object.getOwnPropertyDescriptor(process, 'platform')!
    Object.defineProperty(process, 'platform', { ...platform, value: 'sunos' })
    try {
      await expect(findOpa({ env: env() })).rejects.toMatchObject({
        message: expect.stringMatching(/Go was not found.*no SHA-256 of opa_sunos_\w+ is pinned here/) as string,
        remedy: expect.stringContaining('OPA_BIN') as string,
      })
    } finally {
      Object.defineProperty(process, 'platform', platform)
    }
  })
})
