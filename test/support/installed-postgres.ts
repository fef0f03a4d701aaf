import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../../src/db/loopback.ts'
import { Secret } from '../../src/secret.ts'

const root = '/usr/lib/postgresql'
const nobody = 65_534

/** The programs of a PostgreSQL that is installed beside ours, an older one; undefined where there is none. */
export function installedPrograms(): string | undefined {
  if (!existsSync(root)) return undefined
  const versions = readdirSync(root)
    .map(Number)
    .filter(n => existsSync(join(root, String(n), 'bin/postgres')))
  return versions.length === 0 ? undefined : join(root, String(Math.min(...versions)), 'bin')
}

/** A server of it, in a folder that goes with it. */
export async function startInstalled(superuser: string) {
  const bin = installedPrograms()
  if (bin === undefined) throw new Error('no PostgreSQL is installed here')
  const as = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {}
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-installed-'))
  const data = join(folder, 'cluster')
  const password = join(folder, 'password')
  mkdirSync(data)
  writeFileSync(password, 'only-for-tests')
  for (const path of [folder, data, password]) if (as.uid !== undefined) chownSync(path, as.uid, as.gid)
  chmodSync(data, 0o700)
  const made = spawnSync(
    join(bin, 'initdb'),
    ['-D', data, '-U', superuser, '-A', 'scram-sha-256', '--pwfile', password, '-E', 'UTF8', '--no-locale', '-N'],
    { ...as, encoding: 'utf8' },
  )
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`)
  const port = await freePort()
  const server = spawn(
    join(bin, 'postgres'),
    ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', '', '-c', 'fsync=off'],
    { ...as, stdio: 'ignore' },
  )
  const gone = new Promise<void>(resolve => server.once('exit', () => resolve()))
  const url = (database: string) => new Secret(`postgres://${superuser}:only-for-tests@127.0.0.1:${port}/${database}`)
  for (let tries = 0; ; tries++) {
    const ready = spawnSync(join(bin, 'pg_isready'), ['-h', '127.0.0.1', '-p', String(port)])
    if (ready.status === 0) break
    if (tries > 300 || server.exitCode !== null) throw new Error('the installed PostgreSQL does not start')
    await sleep(100)
  }
  return {
    port,
    superuser,
    url,
    bin,
    async stop() {
      server.kill('SIGINT')
      await gone
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
