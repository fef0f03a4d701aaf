import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { eq } from 'drizzle-orm'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { endCommand } from '../../../src/protocols/ssh/relay/ending.ts'
import {
  confirmationMessage,
  failureMessage,
  M,
  plainMessage,
  readOpen,
  readRequest,
  requestMessage,
} from '../../../src/protocols/ssh/relay/messages.ts'
import { u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { sessions } from '../../../src/sessions/schema.ts'
import { lives } from './sshd.ts'
import { closeAll, raw, rawTarget, type ThroughOptions, through } from './through.ts'
import { createSshWorld, type Issued, type SshWorld, ssh, sshArguments, startSsh } from './world.ts'

/** LC1: what a session runs ends with it. */
const none = Buffer.alloc(0)

describe('programs of a session that must end, on a real server', () => {
  let world: SshWorld
  const children: ChildProcess[] = []
  beforeAll(async () => {
    world = await createSshWorld()
  })
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL')
    await world?.close()
  })

  /** Neither reads nor writes, and does not mind when its terminal or its parent is gone. */
  const stubborn = `trap '' HUP TERM; echo $$; exec >/dev/null 2>&1 </dev/null; sleep 600; sleep 601`

  async function pidOf(child: ChildProcess): Promise<number> {
    children.push(child)
    const [line] = (await once(child.stdout!, 'data')) as [Buffer]
    return Number(line.toString())
  }

  async function end(issued: Issued): Promise<string> {
    const [session] = await world.world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id))
    const { id, grant_id } = session!
    await world.world.approvals.revoke({ grant_id, by: world.person, reason: 'it is over' } as never)
    return id
  }

  async function eventsOf(id: string, kind: string) {
    const events: Record<string, unknown>[] = []
    for await (const event of world.world.reader.events(id)) if (event.kind === kind) events.push(event as never)
    return events
  }

  test('all of them are ended, in whatever channel and with or without a terminal; those of others are not', async () => {
    const issued = await world.ticket()
    const socket = `${world.world.folder}/mux`
    const first = await pidOf(startSsh(world.world, world.port, issued, '-M', '-S', socket, '--', stubborn))
    const more = (...options: string[]) =>
      startSsh(world.world, world.port, issued, '-S', socket, ...options, '--', stubborn)
    const second = await pidOf(more())
    const third = await pidOf(more('-tt'))
    const bystander = await pidOf(startSsh(world.world, world.port, await world.ticket('root'), stubborn))
    const since = performance.now()
    const id = await end(issued)
    await expect.poll(() => [first, second, third].filter(lives), { timeout: 5_000 }).toEqual([])
    expect(performance.now() - since).toBeLessThan(2_500)
    expect(lives(bystander)).toBe(true)
    const by = world.world.web!.login === 'root' ? 'command' : 'signal' // OpenSSH 9.2 signals no program of root's
    await expect
      .poll(async () => (await eventsOf(id, 'program_end')).map(event => event['by']), { timeout: 20_000 })
      .toEqual([by, by, by])
  })

  test('files that are being copied end with their input, and nothing is left', async () => {
    const issued = await world.ticket()
    const args = sshArguments(world.world, world.port, issued)
    const host = args.pop()!
    const child = spawn('sftp', [...args.map(each => (each === '-p' ? '-P' : each)), host], { stdio: 'pipe' })
    children.push(child)
    child.stdin.write('pwd\n')
    await once(child.stdout, 'data')
    const id = await end(issued)
    await expect
      .poll(async () => (await eventsOf(id, 'program_end')).map(event => event['by']), { timeout: 20_000 })
      .toEqual(['end of input'])
    const [closed] = await eventsOf(id, 'disconnected')
    expect(closed!['reason']).not.toContain('live on')
  })

  test('a session without a program ends at once', async () => {
    const issued = await world.ticket()
    await ssh(world.world, world.port, issued, 'true')
    expect(await eventsOf(await end(issued), 'program_end')).toEqual([])
  })
})

describe('the command that ends programs', () => {
  test('touches nothing where its parent is no sshd, which would be another’s', async () => {
    const other = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
    const child = spawn('/bin/sh', ['-c', endCommand], { stdio: 'ignore' })
    expect(await once(child, 'close')).toEqual([4, null])
    expect(lives(other.pid!)).toBe(true)
    other.kill('SIGKILL')
  })

  test('is one word for sh, csh and fish alike: no quote, line end, backslash or history inside its own', () => {
    expect(endCommand).toMatch(/^exec \/bin\/sh -c '[^'\n\\!]+' 2>\/dev\/null$/)
  })
})

describe('programs that cannot be ended', () => {
  afterEach(closeAll)

  /** A target that carries out no signals; `more` is what it says to a second channel. */
  async function deaf(options: ThroughOptions, more: (sender: number, command: string | null) => Buffer[]) {
    const asked: string[] = []
    let opened = 0
    const world = await through({
      ...options,
      target: connection =>
        rawTarget(connection, (payload, say) => {
          if (payload[0] === M.open) {
            const { sender } = readOpen(payload)
            const terms = { sender: opened, window: 2 ** 20, packet: 32_768, rest: none }
            if (opened++ === 0) say(confirmationMessage(sender, terms))
            else say(...more(sender, null))
          } else if (payload[0] === M.request) {
            const { type, wantReply, fields } = readRequest(payload)
            asked.push(type === 'signal' ? `signal ${fields.text()}` : type)
            if (type === 'exec' && asked.includes('signal TERM')) say(...more(1, fields.text(4096)))
            else if (wantReply) say(plainMessage(type === 'signal' ? M.failure : M.success, 0))
          }
        }),
    })
    const client = await raw(world.port)
    await client.running()
    world.end({ message: 'it is over' })
    expect(await client.over()).toContain('it is over')
    await expect.poll(() => world.closedWith, { timeout: 10_000 }).toHaveLength(1)
    const ends = world.records.filter(([kind]) => kind === 'program_end').map(([, body]) => body)
    return { asked, ends, reason: world.closedWith[0]! }
  }

  const left = (why: RegExp) => [{ channel: 0, by: 'left', why: expect.stringMatching(why) as string }]

  test('are said to live on, by an event and by the reason of the end: the target opens no further channel', async () => {
    const { asked, ends, reason } = await deaf({ login: 'root' }, sender => [failureMessage(sender, 1, 'no')])
    expect(asked).toEqual(['exec', 'signal TERM', 'signal KILL'])
    expect(ends).toEqual(left(/carried out no signal in time, and it opens no channel for a command/))
    expect(reason).toBe('it is over; 1 of its programs may live on on web-1')
  })

  test('and so they are where the command fails', async () => {
    const exit = (code: number) => requestMessage(1, 'exit-status', false, u32(code))
    const { asked, ends } = await deaf({ login: 'root' }, (sender, command) =>
      command === null
        ? [confirmationMessage(sender, { sender: 1, window: 2 ** 20, packet: 32_768, rest: none })]
        : [exit(4), plainMessage(M.close, 1)],
    )
    expect(asked).toEqual(['exec', 'signal TERM', 'exec', 'signal KILL'])
    expect(ends).toEqual(left(/a command that would have ended with 4/))
  })

  test('no command runs for a login other than root, whose server signals for itself', async () => {
    const { asked, ends } = await deaf({}, sender => [failureMessage(sender, 1, 'no')])
    expect(asked).toEqual(['exec', 'signal TERM', 'signal KILL'])
    expect(ends).toEqual(left(/^the server carried out no signal in time$/))
  })
})
