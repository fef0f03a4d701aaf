import { execFileSync, spawnSync } from 'node:child_process'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { checked, createCommand, loginOfLease } from '../../../src/protocols/ssh/made-login.ts'
import type { MadeLogin } from '../../../src/protocols/ssh/options.ts'
import { leases, sessions } from '../../../src/sessions/schema.ts'
import type { Edit } from '../../approvals/world.ts'
import { createSshWorld, type Issued, type SshWorld, said, ssh, standing, startSsh } from './world.ts'

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 }) // useradd and userdel wait for each other's locks

const withLogins = (login: string, more = ''): Edit => [
  'resources/data.yaml',
  'kind: certificate # the server trusts the CA that `sallyport ssh harden` prints',
  `kind: login
      admin: ${login}
      by: certificate
      create:
        operator: "useradd --create-home --password '*' --shell /bin/sh {login}${more}"
        root: "echo no room for {login} >&2; exit 4"
      remove: "pkill -KILL -u {login}; sleep 0.2; userdel --remove {login}"`,
]

const there = (login: string) => spawnSync('id', ['-u', login]).status === 0
const made = () =>
  execFileSync('getent', ['passwd'], { encoding: 'utf8' })
    .split('\n')
    .map(line => line.split(':')[0]!)
    .filter(name => name.startsWith('sp-'))

describe.skipIf(process.getuid?.() !== 0)('a login for each session, by useradd and userdel', () => {
  let world: SshWorld
  const before = new Set(made())
  const mine = () => made().filter(name => !before.has(name))
  beforeAll(async () => {
    world = await createSshWorld()
    await world.world.activate(standing, withLogins(world.world.web!.login))
  })
  afterAll(async () => {
    await world?.close()
    for (const login of mine()) spawnSync('userdel', ['--remove', login])
  })

  const leasesOf = async (issued: Issued) =>
    world.world.db
      .select({ lease: leases, session: sessions })
      .from(leases)
      .innerJoin(sessions, eq(leases.session_id, sessions.id))
      .where(eq(sessions.ticket_id, issued.id))
  const reap = () => world.gateway.leases.reapDue((permit, lease) => world.gateway.gateway.reap(permit, lease))
  const dueNow = (id: string) =>
    world.world.db
      .update(leases)
      .set({ next_try_at: new Date(0) })
      .where(eq(leases.id, id))
  const reaped = async (issued: Issued) => {
    await expect
      .poll(
        async () => {
          const [row] = await leasesOf(issued)
          if (row !== undefined && row.lease.state !== 'reaped') await dueNow(row.lease.id) // not what is tested: how long it waits
          await reap()
          return (await leasesOf(issued)).map(each => each.lease.state)
        },
        { timeout: 60_000, interval: 500 },
      )
      .toEqual(['reaped'])
  }

  test('LC3: it is made for the session, the session is it, and it is gone with the session, home and processes too', async () => {
    const issued = await world.ticket()
    const child = startSsh(world.world, world.port, issued, 'whoami; pwd; (sleep 300 >/dev/null 2>&1 &) ; cat')
    const answer = said(child)
    const first = await Promise.race([
      new Promise<string>(resolve => child.stdout!.once('data', chunk => resolve(String(chunk)))),
      answer.then(({ stderr }) => stderr),
    ])
    const [{ lease, session } = {} as never] = await leasesOf(issued)
    const login = String(lease.facts['login'])
    expect(login).toMatch(/^sp-[0-9a-z]{26}$/)
    expect(first).toContain(`${login}\n`)
    expect(there(login)).toBe(true)
    await world.gateway.worker.sessions.end(session.id, 'closed', 'done')
    expect((await answer).stderr).toContain('the session has ended')
    await reaped(issued)
    expect([there(login), spawnSync('test', ['-e', `/home/${login}`]).status]).toEqual([false, 1])
  })

  test('LC3: what a worker made and did not live to say so is removed, and removing twice is no fault', async () => {
    const issued = await world.ticket()
    expect(await ssh(world.world, world.port, issued, 'true')).toMatchObject({ code: 0, stderr: '' })
    const [{ lease } = {} as never] = await leasesOf(issued)
    const login = String(lease.facts['login'])
    // As a crash between making and saying leaves it: planned, never confirmed, its worker gone.
    await world.world.db.update(leases).set({ state: 'minting', minted_at: null }).where(eq(leases.id, lease.id))
    expect(there(login)).toBe(true)
    await world.gateway.leases.release(lease.id)
    await reaped(issued)
    expect(there(login)).toBe(false)
    await world.world.db
      .update(leases)
      .set({ state: 'reaping', next_try_at: new Date(0) })
      .where(eq(leases.id, lease.id))
    await reaped(issued)
  })

  test('a command that fails is told to the person, and nothing is left', async () => {
    const issued = await world.ticket('root')
    const { code, stderr } = await ssh(world.world, world.port, issued, 'true')
    expect(code).toBe(255)
    expect(stderr).toContain('could not be made on web-1: the command ended with 4: no room for sp-')
    await reaped(issued)
    expect(made()).not.toContain(String((await leasesOf(issued))[0]!.lease.facts['login']))
  })

  test('LC3: what cannot be removed is tried again, and says why', async () => {
    const issued = await world.ticket()
    expect(await ssh(world.world, world.port, issued, 'true')).toMatchObject({ code: 0, stderr: '' })
    const [{ lease } = {} as never] = await leasesOf(issued)
    const login = String(lease.facts['login'])
    const edit = withLogins(world.world.web!.login)
    await world.world.activate(standing, [
      edit[0],
      edit[1],
      edit[2].replace('pkill -KILL', 'echo locked >&2; exit 8; pkill'),
    ])
    await world.gateway.leases.release(lease.id)
    await reap()
    expect((await leasesOf(issued))[0]!.lease).toMatchObject({
      state: 'reaping',
      last_error: expect.stringContaining('ended with 8: locked'),
    })
    await world.world.activate(standing, edit)
    await world.world.db
      .update(leases)
      .set({ next_try_at: new Date(0) })
      .where(eq(leases.id, lease.id))
    await reaped(issued)
    expect(there(login)).toBe(false)
  })
})

describe('commands of policy', () => {
  const auth: MadeLogin = {
    kind: 'login',
    admin: 'root',
    by: 'key',
    create: { operator: 'add {login}' },
    remove: 'x {login}',
  }

  test('a role without one is refused', () => {
    expect(createCommand(auth, 'operator', 'web-1')).toBe('add {login}')
    for (const role of ['reader', 'constructor'])
      expect(() => createCommand(auth, role, 'web-1')).toThrow(/does not say how/)
  })

  test('a placeholder that nothing fills is refused, and so is none; the shell keeps its own', () => {
    expect(() => checked('useradd {name} {login}', 'web-1')).toThrow(/\{name\}, which nothing fills/)
    expect(() => checked('useradd x', 'web-1')).toThrow(/does not hold \{login\}/)
    expect(checked(`useradd {login} $${'{more}'}`, 'web-1')).toContain('{more}')
  })

  test('the name of a login is one plain word', () => {
    expect(loginOfLease('lea_01HZX3V5N8Q2W4E6R8T0Y1A2B3')).toBe('sp-01hzx3v5n8q2w4e6r8t0y1a2b3')
    expect(() => loginOfLease('lea_$(reboot)')).toThrow()
  })
})
