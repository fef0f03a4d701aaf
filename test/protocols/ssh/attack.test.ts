import { mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PacketReader } from '../../../src/protocols/ssh/sftp/packet-reader.ts'
import { decodePacket, encodePacket, type Packet } from '../../../src/protocols/ssh/sftp/packets.ts'
import { createSshWorld, type SshWorld, ssh } from './world.ts'

let world: SshWorld
let there: string
beforeAll(async () => {
  world = await createSshWorld()
  there = join(world.world.folder, 'there')
  mkdirSync(join(there, 'd'), { recursive: true })
})
afterAll(() => world?.close())

async function connected() {
  const issued = await world.ticket()
  const client = new ssh2.Client()
  await new Promise<void>((resolve, reject) => {
    client.on('error', reject).on('ready', resolve)
    const login = { username: issued.id, password: issued.secret.reveal(), hostVerifier: () => true }
    client.connect({ host: '127.0.0.1', port: world.port, ...login })
  })
  return client.on('error', () => {})
}

/** SFTP by hand: what is sent together arrives together. */
async function sftp() {
  const client = await connected()
  const channel = await new Promise<ssh2.ClientChannel>((resolve, reject) =>
    client.subsys('sftp', (error, opened) => (error ? reject(error) : resolve(opened))),
  )
  channel.stderr.resume()
  const reader = new PacketReader()
  const answers = new Map<number, Packet>()
  let more = () => {}
  channel.on('data', (chunk: Buffer) => {
    for (const bytes of reader.push(chunk)) {
      const packet = decodePacket(bytes)
      answers.set('id' in packet ? packet.id : -1, packet)
    }
    more()
  })
  const answer = async (id: number): Promise<Packet> => {
    while (!answers.has(id)) await new Promise<void>(resolve => (more = resolve))
    return answers.get(id)!
  }
  const send = (...packets: Packet[]) => channel.write(Buffer.concat(packets.map(encodePacket)))
  send({ type: 'init', version: 3, extensions: [] })
  await answer(-1)
  return { send, answer, end: () => client.end() }
}

describe('hostile SFTP', () => {
  test('nothing is asked of a handle that is being closed, whose number may be another file’s by then', async () => {
    const [ours, theirs] = [join(there, 'ours'), join(there, 'theirs')]
    for (const file of [ours, theirs]) writeFileSync(file, 'kept', { mode: 0o600 })
    const { send, answer, end } = await sftp()
    const open = (id: number, path: string): Packet => ({
      type: 'open',
      id,
      path: Buffer.from(path),
      flags: 3,
      attributes: {},
    })
    send(open(1, ours))
    const opened = await answer(1)
    if (opened.type !== 'handle') throw new Error(opened.type)
    const handle = Buffer.from(opened.handle)
    send(
      { type: 'close', id: 2, handle },
      open(3, theirs),
      { type: 'fsetstat', id: 4, handle, attributes: { permissions: 0o777 } },
      { type: 'write', id: 5, handle, offset: 0n, data: [Buffer.from('lost')] },
    )
    expect(await answer(3)).toMatchObject({ type: 'handle', handle }) // the same number: that makes it an attack
    const refused = { type: 'status', code: 3 }
    expect([await answer(4), await answer(5)]).toMatchObject([refused, refused])
    expect([statSync(theirs).mode & 0o777, readFileSync(theirs, 'utf8')]).toEqual([0o600, 'kept'])
    send({ type: 'write', id: 6, handle, offset: 0n, data: [Buffer.from('now!')] }) // to its new owner
    expect(await answer(6)).toMatchObject({ code: 0 })
    end()
  })

  test('a link with `..` says what was judged, and not where other links make it lead', async () => {
    const { send, answer, end } = await sftp()
    const link = (id: number, path: string, target: string): Packet => ({
      type: 'symlink',
      id,
      path: Buffer.from(path),
      target: Buffer.from(target),
    })
    send(link(1, join(there, 'd/up'), there), link(2, join(there, 'm'), 'd/up/../..'), link(3, join(there, 'n'), 'd'))
    for (const id of [1, 2, 3]) expect(await answer(id)).toMatchObject({ type: 'status', code: 0 })
    expect([readlinkSync(join(there, 'm')), readlinkSync(join(there, 'n'))]).toEqual([there, 'd'])
    end()
  })
})

describe('hostile starts', () => {
  test('a subsystem whose name ends in a NUL is none: sshd would start sftp, and nobody would judge its files', async () => {
    const client = await connected()
    const outcome = new Promise<string>(resolve => {
      client.once('close', () => resolve('cut'))
      client.subsys('sftp\0', (_error, channel) => {
        channel?.write(encodePacket({ type: 'init', version: 3, extensions: [] }))
        channel?.once('data', () => resolve('an SFTP server answers'))
      })
    })
    expect(await outcome).toBe('cut')
    client.end()
  })

  test('a subsystem has no terminal, which would change what was judged', async () => {
    const { code, stderr } = await ssh(world.world, world.port, await world.ticket(), '-tt', '-s', '--', 'sftp')
    expect([code, stderr]).toEqual([255, expect.stringContaining('subsystem request failed')])
  })

  test('the old scp goes to no path with `..` in it, of which a rule on paths would be told another', async () => {
    const { code, stderr } = await ssh(world.world, world.port, await world.ticket(), `scp -f ${there}/d/../ours`)
    expect([code, stderr]).toEqual([126, expect.stringContaining('write it from / on')])
  })
})
