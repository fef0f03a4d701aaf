import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Edit } from '../../approvals/world.ts'
import { found } from '../../support/canaries.ts'
import { lives, sshKeygen } from './sshd.ts'
import { createSshWorld, type Issued, type SshWorld, said, ssh, standing, startSsh } from './world.ts'

/** Keys and passwords that lie with us: they open the target, and are nowhere else (LC4). */
let world: SshWorld
const login = `sp-${randomBytes(4).toString('hex')}`
const password = `canary-${randomBytes(12).toString('hex')}`
const secretFile = () => join(world.world.folder, 'web-key')
const isRoot = process.getuid?.() === 0

beforeAll(async () => {
  if (isRoot) {
    const hash = execFileSync('openssl', ['passwd', '-6', '-stdin'], { input: password, encoding: 'utf8' }).trim()
    execFileSync('useradd', ['--no-create-home', '--shell', '/bin/sh', '--password', hash, login])
  }
  world = await createSshWorld([`Match User ${login}`, '  PasswordAuthentication yes'])
})
afterAll(async () => {
  await world?.close()
  if (isRoot) execFileSync('userdel', [login])
})

const stored = (kind: 'key' | 'password', as: string): Edit[] => [
  standing,
  ['resources/data.yaml', 'class: server\n', 'class: server\n  secret: web-key\n'],
  ['resources/data.yaml', 'kind: certificate', `kind: ${kind}`],
  ['resources/data.yaml', `operator: ${world.world.web!.login}`, `operator: ${as}`],
]

/** Everything that the gateway and control wrote: tables, and the recordings as they replay. */
async function written(...tickets: Issued[]): Promise<string> {
  const { sql } = world.world.test.database
  const tables = await sql<{ name: string }[]>`
    select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'`
  const parts: string[] = []
  for (const { name } of tables) parts.push(JSON.stringify(await sql.unsafe(`select t::text as row from ${name} t`)))
  const rows = await sql<
    { id: string }[]
  >`select id from sessions where ticket_id = any(${tickets.map(({ id }) => id)})`
  for (const { id } of rows) for await (const event of world.world.reader.events(id)) parts.push(JSON.stringify(event))
  return parts.join('\n')
}

describe('a stored key', () => {
  test.each(['ed25519', 'ecdsa', 'rsa'])('%s: opens the target, and is written nowhere', async type => {
    const folder = join(world.world.folder, `stored-${type}`)
    mkdirSync(folder)
    sshKeygen('-t', type, '-f', join(folder, 'key'))
    const key = readFileSync(join(folder, 'key'), 'utf8')
    writeFileSync(secretFile(), key, { mode: 0o600 })
    world.world.web!.authorize(readFileSync(join(folder, 'key.pub'), 'utf8').trim())
    await world.world.activate(...stored('key', world.world.web!.login))
    const issued = await world.ticket()
    const { code, stdout, stderr } = await ssh(world.world, world.port, issued, 'echo in; ps axww -o args')
    expect([code, stdout.toString().split('\n')[0]]).toEqual([0, 'in'])
    const canaries = {
      key: key.split('\n').slice(3, 5).join('\n'),
      line: key.split('\n')[3]!,
      ticket: issued.secret.reveal(),
    }
    expect(found(stdout, canaries)).toEqual([])
    expect(found(stderr + (await written(issued)), canaries)).toEqual([])
  })

  test('that the target does not take ends in one line that does not hold it', async () => {
    world.world.web!.authorize('')
    const issued = await world.ticket()
    const { code, stderr } = await ssh(world.world, world.port, issued, 'echo in')
    expect(code).toBe(255)
    expect(stderr).toContain(`web-1 cannot be used: it refused the login as ${world.world.web!.login}`)
    expect(stderr).not.toContain('BEGIN')
  })

  test('that is no key ends in one line that does not hold it', async () => {
    writeFileSync(secretFile(), 'canary-that-is-no-key', { mode: 0o600 })
    const { code, stderr } = await world.run('echo in')
    expect(code).toBe(255)
    expect(stderr).toMatch(/sallyport: .*web-1/)
    expect(stderr).not.toContain('canary')
  })
})

describe.runIf(isRoot)('a stored password', () => {
  test('opens the target, and is written nowhere', async () => {
    writeFileSync(secretFile(), password, { mode: 0o600 })
    await world.world.activate(...stored('password', login))
    const issued = await world.ticket()
    const { code, stdout, stderr } = await ssh(world.world, world.port, issued, 'id -un; ps axww -o args')
    expect([code, stdout.toString().split('\n')[0], stderr]).toEqual([
      0,
      login,
      expect.not.stringContaining('sallyport:'),
    ])
    const canaries = { password, ticket: issued.secret.reveal() }
    expect(found(stdout, canaries)).toEqual([])
    expect(found(await written(issued), canaries)).toEqual([])
  })

  test('a wrong one ends in one line that does not hold it', async () => {
    writeFileSync(secretFile(), 'canary-wrong', { mode: 0o600 })
    const { code, stderr } = await world.run('echo in')
    expect([code, stderr]).toEqual([255, expect.stringContaining(`it refused the login as ${login}`)])
    expect(stderr).not.toContain('canary')
  })

  test('LC1: the grant ends in the middle of a command: it is gone at the target, and the person reads why', async () => {
    writeFileSync(secretFile(), password, { mode: 0o600 })
    const issued = await world.ticket()
    const child = startSsh(world.world, world.port, issued, 'echo $$; exec sleep 300')
    const ended = said(child)
    const pid = Number(await new Promise<Buffer>(resolve => child.stdout!.once('data', resolve)))
    expect(lives(pid)).toBe(true)
    const [session] = await world.world.test.database.sql`select grant_id from sessions where ticket_id = ${issued.id}`
    const grant_id = session!['grant_id']
    await world.world.approvals.revoke({ grant_id, by: world.person, reason: 'the ship is sinking' } as never)
    expect((await ended).stderr).toContain('the ship is sinking')
    await expect.poll(() => lives(pid), { timeout: 1000, interval: 20 }).toBe(false)
  })
})
