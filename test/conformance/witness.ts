import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cosignedAt, parseWitness } from '../../src/audit/cosignature.ts'
import { emptyRoot } from '../../src/audit/merkle.ts'
import { publishedCheckpoint } from '../../src/audit/places/published.ts'
import { Publisher } from '../../src/audit/places/publisher.ts'
import { placeStates } from '../../src/audit/places/state.ts'
import { witnessPlace } from '../../src/audit/places/witness.ts'
import { freePort } from '../../src/db/loopback.ts'
import { logWorld, origin } from '../audit/support.ts'

/**
 * `npm run conformance -- witness`: our log before litewitness, a witness of https://c2sp.org/tlog-witness that we did not
 * write. It cosigns a first checkpoint, continues after growth, tells a new process of ours where it is, and refuses a log
 * that went back. Needs Go, ssh-agent and python3 (which puts the log into the witness's SQLite file).
 */
const version = 'v0.6.1'
const bin = join(homedir(), '.cache/sallyport', `torchwood-${version}`)
const program = join(bin, 'litewitness')
if (!existsSync(program)) {
  console.error('· building litewitness, some minutes')
  mkdirSync(bin, { recursive: true })
  const env = { ...process.env, GOBIN: bin }
  execFileSync('go', ['install', `filippo.io/torchwood/cmd/litewitness@${version}`], { env, stdio: 'inherit' })
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-witness-'))
const children: ChildProcess[] = []
const world = await logWorld()
try {
  const db = join(folder, 'witness.db')
  const put = `import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)")
c.execute("CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))")
c.execute("INSERT INTO log VALUES (?, 0, ?)", (sys.argv[2], sys.argv[3]))
c.execute("INSERT INTO key VALUES (?, ?)", (sys.argv[2], sys.argv[4]))
c.commit()`
  execFileSync('python3', ['-c', put, db, origin, emptyRoot.toString('base64'), world.sequencer.vkey])
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'key')])
  const socket = join(folder, 'agent')
  children.push(spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' }))
  while (!existsSync(socket)) await sleep(20)
  execFileSync('ssh-add', ['-q', join(folder, 'key')], {
    env: { ...process.env, SSH_AUTH_SOCK: socket },
    stdio: 'ignore',
  })
  const fingerprint = execFileSync('ssh-keygen', ['-lf', join(folder, 'key.pub')], { encoding: 'utf8' }).split(' ')[1]!
  const port = await freePort()
  const args = [
    '-name',
    'witness.example/lite',
    '-db',
    db,
    '-ssh-agent',
    socket,
    '-listen',
    `127.0.0.1:${port}`,
    '-key',
    fingerprint,
  ]
  const witness = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  children.push(witness)
  const vkey = await said(witness, /vkey=(\S+)/)
  await said(witness, /msg=listening/)

  let clock = Date.now()
  const open = (process_id: string) =>
    new Publisher({
      database: world.database,
      audit: world.writer,
      places: [witnessPlace({ name: 'lite', url: `http://127.0.0.1:${port}`, vkey, every_ms: 1000 })],
      vkey: world.sequencer.vkey,
      process_id,
      now: () => clock,
    })
  const carry = async (publisher: Publisher) => {
    clock += 600_000
    await publisher.run()
    return (await placeStates(world.database.sql))[0]!
  }
  const check = (what: string, holds: boolean, why: unknown) => {
    console.log(`${holds ? 'pass' : 'FAIL'}  ${what}${holds ? '' : `: ${JSON.stringify(why)}`}`)
    if (!holds) process.exitCode = 1
  }
  const first = open('prc_one')
  await world.grow(5)
  const begun = await carry(first)
  check('it cosigns the first checkpoint', begun.size === 5 && begun.error === null, begun)
  await world.grow(700)
  const grown = await carry(first)
  check('it follows the growth by our consistency proof', grown.size === 705 && grown.error === null, grown)
  const shown = (await publishedCheckpoint(world.database.sql))!
  const text = shown.note.slice(0, shown.note.indexOf('\n\n') + 1)
  const at = cosignedAt(shown.note.trim().split('\n').at(-1)!, text, parseWitness(vkey))
  check(
    'its cosignature stands under the checkpoint that is shown',
    at !== null && Math.abs(at - Date.now() / 1000) < 120,
    at,
  )
  await first.close()
  const second = open('prc_two')
  await world.grow(3)
  const again = await carry(second)
  check(
    'a process that knows nothing of it learns where it is, and goes on',
    again.size === 708 && again.error === null,
    again,
  )
  await second.close()
  const { sql } = world.database
  await sql`delete from audit_checkpoints where size > 705`
  await sql`update audit_outside set size = 0`
  const third = open('prc_three')
  const back = await carry(third)
  check(
    'a log that went back is not cosigned, and the reason is told',
    back.error?.includes('it went back') === true,
    back,
  )
  await third.close()
} finally {
  for (const child of children) child.kill()
  await world.close()
  await rm(folder, { recursive: true, force: true })
}
process.exit()

function said(child: ChildProcess, what: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.stderr!.setEncoding('utf8').on('data', (part: string) => {
      text += part
      const found = what.exec(text)
      if (found) resolve(found[1] ?? found[0])
    })
    child.once('exit', code => reject(new Error(`it ended with ${code}: ${text}`)))
  })
}
