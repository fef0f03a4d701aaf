import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SubjectFacts } from '../../../src/policy/points.ts'
import { sessions } from '../../../src/sessions/schema.ts'
import type { Edit } from '../../approvals/world.ts'
import { startReplay } from '../../gateway/replay.ts'
import { createSshWorld, type Issued, type SshWorld, said, standing, startSsh } from './world.ts'

const demanded: Edit = ['access/access.rego', '"from": [', '"moderators": ["security-admins"], "from": [']
const sealing: Edit = ['recording/recording.rego', '"originals": "drop"', '"originals": "sealed"']
let world: SshWorld
let replay: Awaited<ReturnType<typeof startReplay>>
let sam: SubjectFacts

beforeAll(async () => {
  world = await createSshWorld()
  replay = await startReplay(world.world, world.gateway.worker.engine)
  sam = await world.world.person('sam', ['security-admins'])
}, 120_000)
afterAll(async () => {
  await replay?.close()
  await world?.close()
})

async function sessionOf(issued: Issued): Promise<string | undefined> {
  const [session] = await world.world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id))
  return session?.id
}

/** A client, and what it has shown so far. */
function watched(issued: Issued, ...rest: string[]) {
  const child = startSsh(world.world, world.port, issued, ...rest)
  const shown = { out: '', err: '' }
  child.stdout!.on('data', text => (shown.out += text))
  child.stderr!.on('data', text => (shown.err += text))
  return { child, shown, ended: said(child) }
}

describe('where policy demands that somebody watches', () => {
  test('a program waits until one does, pauses when they leave, loses nothing, and its person reads why', async () => {
    await world.world.activate(standing, demanded)
    const issued = await world.ticket()
    const { child, shown, ended } = watched(issued, 'echo up; cat')
    child.stdin!.write('early\n')
    const waits = /sallyport: waiting for a moderator \(security-admins\): one of them runs `sallyport tail ses_/g
    await expect.poll(() => shown.err, { timeout: 20_000 }).toMatch(waits)
    expect(shown.out).toBe('')
    const id = (await sessionOf(issued))!
    const leave = await replay.follow(sam, id)
    await expect.poll(() => shown.out, { timeout: 20_000 }).toBe('up\nearly\n')
    expect(shown.err).toContain('sallyport: somebody watches: it goes on')
    leave.abort()
    await expect.poll(() => shown.err.match(waits)?.length, { timeout: 20_000 }).toBe(2)
    child.stdin!.write('meanwhile\n')
    await new Promise(done => setTimeout(done, 1_000))
    expect(shown.out).toBe('up\nearly\n')
    const again = await replay.follow(sam, id)
    await expect.poll(() => shown.out, { timeout: 20_000 }).toBe('up\nearly\nmeanwhile\n')
    child.stdin!.end()
    expect((await ended).code).toBe(0)
    again.abort()
  })

  test('what is sent meanwhile is not read without end, and goes on whole', async () => {
    await world.world.activate(standing, demanded)
    const issued = await world.ticket()
    const { child, shown, ended } = watched(issued, 'wc -c')
    child.stdin!.end(Buffer.alloc(20 * 1024 * 1024))
    await expect.poll(() => shown.err, { timeout: 20_000 }).toContain('waiting for a moderator')
    await new Promise(done => setTimeout(done, 1_000))
    expect(child.stdin!.writableLength).toBeGreaterThan(10 * 1024 * 1024)
    const leave = await replay.follow(sam, (await sessionOf(issued))!)
    expect([(await ended).code, shown.out.trim()]).toEqual([0, String(20 * 1024 * 1024)])
    leave.abort()
  })
})

describe('input', () => {
  test('is in the layer of originals alone, and what the terminal did not show is marked', async () => {
    await world.world.activate(standing, sealing)
    const issued = await world.ticket()
    const { child, shown, ended } = watched(issued, '-tt', '--', 'sh')
    const answered = (text: string) => expect.poll(() => shown.out, { timeout: 20_000 }).toContain(text)
    child.stdin!.write('printf "wo%s: " rd; stty -echo; read -r x; stty echo; echo "got $(expr length $x)"\n')
    await answered('word: ')
    child.stdin!.write('hunter22\n')
    await answered('got 8')
    child.stdin!.write('exit 5\n')
    expect((await ended).code).toBe(5)
    const id = (await sessionOf(issued))!
    const read = async (view: 'masked' | 'clear') => {
      const events: Record<string, unknown>[] = []
      for await (const event of world.world.reader.events(id, { view })) events.push(event as never)
      return events
    }
    await expect
      .poll(async () => (await read('clear')).map(event => event['kind']), { timeout: 20_000 })
      .toContain('disconnected')
    const clear = await read('clear')
    const typed = Buffer.concat(
      clear.filter(({ kind }) => kind === 'input').map(event => Buffer.from(event['data'] as Buffer)),
    )
    expect(typed.toString()).toMatch(/^printf .*\nhunter22\nexit 5\n$/)
    const hidden = clear.filter(({ kind }) => kind === 'unechoed')
    expect(hidden.map(event => typed.subarray(Number(event['from']), Number(event['to'])).toString())).toEqual([
      'hunter22\n',
    ])
    const seen = await read('masked')
    expect(seen.map(event => event['kind'])).not.toContain('input')
    expect(Buffer.concat(seen.map(event => Buffer.from((event['data'] as Buffer) ?? ''))).toString()).not.toContain(
      'hunter22',
    )
  })
})
