import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { canMount, SmallDisk } from '../support/small-disk.ts'
import { SshClients } from '../support/ssh.ts'
import { lives, startWorld, type TestWorld } from '../support/world.ts'

/** Processes are killed in the middle; what was promised holds all the same. */
const grace_s = 4
const mountable = canMount()
const small = new SmallDisk(96)
let world: TestWorld
beforeAll(async () => {
  // The policy is looked for before anything has started: the spool gets a disk of its own, which can be full.
  const policy = (policies: string) => {
    if (mountable) small.mount(join(dirname(policies), 'data/spool'))
    return {}
  }
  // A refresh whose answer is lost while the database is away ends a sign-in (ID11, which has tests of its own).
  world = await startWorld({ tuning: { offline_grace_s: grace_s, refresh_s: 600, policy } })
  await world.grant(world.person.erin)
})
afterAll(async () => {
  small.unmount()
  await world?.stop()
})

async function recordingOf(session: string): Promise<{ state: string; seal_hash: string | null }> {
  const [row] = await world.owner<{ state: string; seal_hash: string | null }[]>`
    select state, seal_hash from recordings where session_id = ${session}`
  return row!
}

describe('kill -9 of a gateway worker', () => {
  test('LC3, RE2: others go on, the role is reaped, the recording is sealed as interrupted and its prefix plays', async () => {
    const { erin, eli, ava } = world.person
    await world.grant(eli)
    const before = await world.workers()
    expect(before.length).toBe(2)
    const ticket = await erin.ticket()
    const psql = erin.openPsql(ticket)
    expect(await psql.ask("select 'before', 'the crash';")).toEqual({ out: 'before|the crash', err: '' })
    const [victim] = await world.serving(ticket.id)
    const bystander = await eli.ticket()
    const others = []
    while (!(await world.serving(bystander.id)).some(worker => worker.id !== victim!.id)) {
      const other = eli.openPsql(bystander)
      others.push(other)
      await other.ask('select 1;')
    }
    psql.send('select pg_sleep(60);')
    await world.until(async () => {
      const [sleeping] = (await world.backends()).filter(b => b.query.includes('pg_sleep'))
      expect(sleeping?.state).toBe('active')
    })
    const roles = await world.leaseRoles()
    process.kill(victim!.pid, 'SIGKILL')

    await psql.command.says(/server closed the connection unexpectedly|connection to server was lost/)
    expect(await others.at(-1)!.ask("select 'untouched';")).toEqual({ out: 'untouched', err: '' })
    await world.until(async () => expect((await world.workers()).length).toBe(2), 30_000) // another took its place
    expect((await world.workers()).map(worker => worker.pid)).not.toContain(victim!.pid)
    expect(lives(victim!.pid)).toBe(false)

    const again = erin.openPsql(await erin.ticket())
    expect(await again.ask("select 'after';")).toEqual({ out: 'after', err: '' })
    await again.close()
    for (const other of others) await other.close()

    await world.until(async () => {
      expect((await world.backends()).filter(b => b.query.includes('pg_sleep'))).toEqual([])
      expect((await world.leaseRoles()).filter(role => roles.includes(role)).length).toBeLessThan(roles.length)
    }, 60_000)
    const session = await world.sessionOf(ticket.id)
    await erin.post(`/api/sessions/${session.id}/end`, { reason: 'the worker is gone' })
    await world.until(async () => expect(await recordingOf(session.id)).toMatchObject({ state: 'interrupted' }), 60_000)
    const played = await ava.cli('replay', session.id, '--text')
    expect(played.stdout).toContain('before | the crash')
    expect(played.stdout).toContain('pg_sleep')
    expect(await world.hostCli('audit', 'verify')).toMatchObject({ code: 0 })
  })
})

describe('kill -9 of a gateway worker that serves ssh', () => {
  test('LC3, RE2: others go on, the next ssh works, the lease is reaped, the prefix of the recording plays', async () => {
    const { erin, eli, ava } = world.person
    for (const person of [erin, eli]) await world.grant(person, { resource: 'web-1', role: 'operator' })
    const [mine, theirs] = [await SshClients.of(erin), await SshClients.of(eli)]
    const ticketOf = async (email: string) => {
      const [row] = await world.owner<{ id: string }[]>`
        select t.id from tickets t join subjects s on s.id = t.subject_id
        where t.resource = 'web-1' and s.email like ${`${email}@%`} order by t.created_at desc`
      return row!.id
    }
    const running = mine.start('ssh', 'web-1', 'echo before the crash; sleep 60')
    await running.says(/before the crash/)
    const ticket = await ticketOf('erin')
    const [victim] = await world.serving(ticket)
    const others = []
    do {
      const other = theirs.start('ssh', 'web-1', 'echo up; cat')
      others.push(other)
      await other.says(/up/)
    } while (!(await world.serving(await ticketOf('eli'))).some(worker => worker.id !== victim!.id))
    process.kill(victim!.pid, 'SIGKILL')

    expect(await running.ended).toMatchObject({ code: 255, stdout: 'before the crash\n' })
    others.at(-1)!.write('untouched\n')
    await others.at(-1)!.says(/untouched/)
    for (const other of others) other.child.stdin.end()
    await world.until(async () => expect((await world.workers()).length).toBe(2), 30_000)
    await world.until(async () =>
      expect(await mine.run('ssh', 'web-1', 'echo after')).toMatchObject({ code: 0, stdout: 'after\n' }),
    )
    const session = await world.sessionOf(ticket)
    await erin.post(`/api/sessions/${session.id}/end`, { reason: 'the worker is gone' })
    await world.until(async () => {
      const left = await world.owner`select state from leases where session_id = ${session.id} and state <> 'reaped'`
      expect(left).toEqual([])
      expect(await recordingOf(session.id)).toMatchObject({ state: 'interrupted' })
    }, 60_000)
    expect((await ava.cli('replay', session.id, '--text')).stdout).toContain('before the crash')
  })
})

describe('kill -9 of control', () => {
  test('sessions go on, end on time without it, and everything is as before once it is back', async () => {
    const { erin, dana } = world.person
    const request = await world.grant(erin, { role: 'writer' })
    const psql = erin.openPsql(await erin.ticket({ role: 'writer' }))
    expect(await psql.ask('select 1;')).toEqual({ out: '1', err: '' })
    process.kill(world.dev.children.control.pid, 'SIGKILL')
    await world.dev.children.control.exited

    expect(await psql.ask("update orders set status = 'paid' where id = 1;\nselect 'goes on';")).toEqual({
      out: 'goes on',
      err: '',
    })
    await expect(dana.get('/api/me')).rejects.toThrow()
    // Time is over while nobody is there who could say so.
    await world.owner`update grants set ends_at = clock_timestamp() + interval '1 s' where id = ${request.grant!.id}`
    await world.owner`select pg_notify('grants', ${request.grant!.id})`
    await world.until(async () => expect(await psql.ask('select 1;')).toMatchObject({ out: '' }), 6_000)
    expect(psql.command.stderr).toContain('the session has ended')

    await world.startControl()
    await world.grant(erin, { role: 'writer', reason: 'after the crash' })
    const later = await erin.psql(await erin.ticket({ role: 'writer' }), "select 'works again';")
    expect(later).toMatchObject({ code: 0, stdout: 'works again\n' })
    await world.until(async () => expect(await world.hostCli('audit', 'verify')).toMatchObject({ code: 0 }))
  })
})

describe('kill -9 of the control that follows the policy repository', () => {
  test('another one takes over within seconds, puts what is pushed then into force, and gives it back', async () => {
    const leader = async () => {
      const [row] = await world.owner<{ pid: string }[]>`
        select p.pid from policy_state s join processes p on p.id = s.looked_by`
      return Number(row!.pid)
    }
    const first = await leader()
    const second = await world.startSecondControl()
    await world.until(async () => expect(await leader()).toBe(first))
    process.kill(first, 'SIGKILL')
    await world.until(async () => expect(await leader()).toBe(second.pid), 10_000)
    await world.activate({ 'README.md': old => `${old}\nPushed while the first was gone.\n` })
    const back = await world.startControl()
    expect(await leader()).toBe(second.pid)
    process.kill(second.pid, 'SIGTERM')
    await second.exited
    await world.until(async () => expect(await leader()).toBe(back.pid), 10_000)
  })
})

describe('FA1: PostgreSQL of the system is away', () => {
  test('nobody new gets in, sessions end after the grace and say why, and all comes back by itself', async () => {
    const { erin } = world.person
    const ticket = await erin.ticket()
    const spare = await erin.ticket()
    const psql = erin.openPsql(ticket)
    expect(await psql.ask('select 1;')).toEqual({ out: '1', err: '' })
    psql.send('select pg_sleep(60);')
    await world.until(async () => {
      expect((await world.backends()).filter(b => b.state === 'active' && b.query.includes('pg_sleep')).length).toBe(1)
    })
    const since = performance.now()
    await world.stopDatabase()

    const refused = await erin.psql(spare, 'select 1;')
    expect(refused.code).toBe(2)
    expect(refused.stdout).toBe('')
    await psql.command.says(/the gateway has not reached its database for 4 s/, (grace_s + 6) * 1_000)
    expect(performance.now() - since).toBeGreaterThan((grace_s - 2) * 1000)
    await world.until(async () => expect((await world.backends()).filter(b => b.state === 'active')).toEqual([]))

    await world.startDatabase()
    await world.until(async () => {
      const answer = await erin.psql(await erin.ticket(), "select 'back';")
      expect(answer).toMatchObject({ code: 0, stdout: 'back\n' })
    }, 60_000)
    await world.until(
      async () => expect(await world.sessionOf(ticket.id)).toMatchObject({ ended_at: expect.any(Date) }),
      30_000,
    )
    await world.until(async () => expect(await world.hostCli('audit', 'verify')).toMatchObject({ code: 0 }), 30_000)
  })
})

describe('RE1: storage trouble', () => {
  const statusOf = async () => (await world.person.sam.cli('status')).stdout
  const long = `select length('${'x'.repeat(20_000)}');`

  test.skipIf(!mountable)(
    'RE1: a full disk cuts sessions of both modes within 5 s, each says why, none starts, and status tells; with room all is well again',
    async () => {
      await world.activate({
        'recording/recording.rego': old => `${old}\nstrictly if input.role == "writer"\n`,
      })
      const { erin } = world.person
      await world.grant(erin, { role: 'writer', reason: 'strict' })
      const lax = erin.openPsql(await erin.ticket())
      const strict = erin.openPsql(await erin.ticket({ role: 'writer' }))
      for (const psql of [lax, strict]) expect(await psql.ask('select 1;')).toEqual({ out: '1', err: '' })

      onTestFinished(() => small.empty())
      small.fill()
      const since = performance.now()
      for (const psql of [lax, strict]) {
        psql.send(long)
        await psql.command.says(/can no longer be recorded: the disk of the spool is full/, 5_000)
      }
      expect(performance.now() - since).toBeLessThan(5_000)
      const refused = await erin.psql(await erin.ticket(), long)
      expect(refused.code).not.toBe(0)
      expect(refused.stderr).toMatch(/disk of the spool is full/)
      await world.until(async () =>
        expect(await statusOf()).toMatch(
          /ALARM: gateway prc_\w+: no session can be recorded: the disk of the spool is full/,
        ),
      )
      await world.until(async () => {
        const told =
          await world.owner`select ready from processes where ready like 'no session can be recorded: the disk%'`
        expect(told.length).toBeGreaterThan(0)
        expect(await (await fetch(`${world.origin}/metrics`)).text()).toMatch(
          /sallyport_journal_lost\{process="prc_\w+"\} 1/,
        )
      })

      small.empty()
      await world.until(async () => expect(await statusOf()).not.toContain('ALARM'))
      expect(await erin.psql(await erin.ticket(), "select 'room';")).toMatchObject({ code: 0, stdout: 'room\n' })
    },
  )

  test('RE1: with only the store away sessions start and go on, an alarm is raised, and what was recorded arrives when it is back', async () => {
    const { erin, ava } = world.person
    const store = join(world.dev.dataDir, 'data/recordings')
    const before = erin.openPsql(await erin.ticket())
    expect(await before.ask('select 1;')).toEqual({ out: '1', err: '' })
    renameSync(store, `${store}.away`)
    writeFileSync(store, '') // no folder can be made where a file is
    const ticket = await erin.ticket()
    const during = erin.openPsql(ticket)
    expect(await during.ask("select 'while it is away';")).toEqual({ out: 'while it is away', err: '' })
    await world.until(async () => {
      expect(await statusOf()).toMatch(
        /ALARM: gateway prc_\w+: recordings have not been shipped to the store for \d+ s/,
      )
    }, 30_000)
    await world.until(async () => {
      const raised = await world.owner`
        select body from audit_inbox where type = 'alert.raised' and body like '%have not been shipped%'`
      expect(raised.length).toBeGreaterThan(0)
    })
    expect(await before.ask("select 'goes on';")).toEqual({ out: 'goes on', err: '' })
    rmSync(store)
    renameSync(`${store}.away`, store)
    await before.close()
    await during.close()
    const session = await world.sessionOf(ticket.id)
    await erin.post(`/api/sessions/${session.id}/end`, { reason: 'done' })
    await world.until(async () => expect(await recordingOf(session.id)).toMatchObject({ state: 'sealed' }), 30_000)
    expect(await ava.cli('replay', session.id, '--text')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('while it is away'),
    })
    await world.until(async () => expect(await statusOf()).not.toContain('ALARM'))
  })
})
