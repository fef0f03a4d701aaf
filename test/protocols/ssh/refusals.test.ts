import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import ssh2 from 'ssh2'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { inner, send } from '../../../src/protocols/ssh/inside.ts'
import { userCa } from '../../../src/protocols/ssh/keys.ts'
import { field, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { publicKeyBlob, publicKeyLine } from '../../../src/protocols/ssh/wire/public-key.ts'
import type { Edit } from '../../approvals/world.ts'
import { ed25519Signature, type Forgery, freshKey } from './kit.ts'
import { certified, keyOf, type Proof, shows } from './proofs.ts'
import { createSshWorld, type SshWorld, said, ssh, standing, startSsh } from './world.ts'

/** What opens nothing at a running gateway, by the cases' names. */
let world: SshWorld
let ca: ReturnType<typeof freshKey>['key']
/** They hang on while everything else of this file goes on beside them; the last test waits for their end. */
let silent: Promise<unknown>
beforeAll(async () => {
  world = await createSshWorld()
  ca = world.world.keys('ssh', userCa).privateKey
  silent = silentPeers()
})
afterAll(() => world?.close())

function silentPeers(): Promise<unknown> {
  const says = ['', 'SSH-2.0-slow\r\n', 'SSH-2.0-sl']
  const sockets = Array.from({ length: 30 }, (_, i) => {
    const socket = connect(world.port, '127.0.0.1').on('error', () => {})
    socket.resume()
    if (says[i % 3] !== '') socket.write(says[i % 3]!)
    return socket
  })
  return Promise.all(sockets.map(socket => new Promise(resolve => socket.once('close', resolve))))
}

const refusedEvents = () => world.world.events('ticket.refused')

describe('SS1: signatures that prove nothing', () => {
  const forgeries: [string, (right: ReturnType<typeof keyOf>) => Partial<Proof>][] = [
    ['an Ed25519 key sent as ssh-rsa', () => ({ algorithm: 'ssh-rsa' })],
    ['an Ed25519 key sent as rsa-sha2-256', () => ({ algorithm: 'rsa-sha2-256' })],
    ['as ECDSA', () => ({ algorithm: 'ecdsa-sha2-nistp256' })],
    ['as a certificate', () => ({ algorithm: 'ssh-ed25519-cert-v01@openssh.com' })],
    ['no signature', () => ({ sign: () => Buffer.alloc(0) })],
    ['an empty one', () => ({ sign: () => Buffer.concat([field('ssh-ed25519'), field('')]) })],
    ['zeros', () => ({ sign: () => Buffer.concat([field('ssh-ed25519'), field(Buffer.alloc(64))]) })],
    [
      'named ssh-rsa inside',
      ({ sign }) => ({
        sign: data => Buffer.concat([field('ssh-rsa'), sign(data).subarray(4 + 'ssh-ed25519'.length)]),
      }),
    ],
    ['of other bytes', ({ sign }) => ({ sign: data => sign(Buffer.concat([data, Buffer.of(0)])) })],
    ['by another key', () => ({ sign: data => ed25519Signature(freshKey().key, data) })],
  ]

  test('the right one opens', async () => {
    const issued = await world.ticket()
    expect(await shows(world.port, issued.id, { algorithm: 'ssh-ed25519', ...keyOf(issued) })).toBe('in\n')
  })

  test.each(forgeries)('%s: refused', async (_what, forged) => {
    const issued = await world.ticket()
    const right = keyOf(issued)
    const words = await shows(world.port, issued.id, { algorithm: 'ssh-ed25519', ...right, ...forged(right) })
    expect(words).toMatch(/authentication methods failed|closed|ECONNRESET/)
  })

  test('and the audit log says so', async () => {
    const codes = (await refusedEvents()).map(({ body }) => body['code'])
    expect(codes).toContain('signature')
  })
})

describe('SS5: certificates that the CA would never sign, signed by it all the same', () => {
  const now = () => BigInt(Math.floor(Date.now() / 1000))
  const critical = (name: string, data: string) => ({ critical: [{ name, data }] })
  const forgeries: [string, (id: string) => Forgery][] = [
    ['a list as a principal', id => ({ principals: [`${id},root`] })],
    ['a pattern', () => ({ principals: ['*'] })],
    ['a pattern beside the right one', id => ({ principals: [id, '*'] })],
    ['nobody', () => ({ principals: [] })],
    ['somebody else', () => ({ principals: ['tkt_00000000000000000000000000'] })],
    ['a host', () => ({ kind: 2 })],
    ['expired', () => ({ valid_before_s: now() - 1n })],
    ['not yet valid', () => ({ valid_after_s: now() + 3600n })],
    ['an unknown critical option', () => critical('no-such-option@example.com', 'x')],
    ['force-command, which nobody would carry out', () => critical('force-command', 'true')],
    ['another source address', () => critical('source-address', '192.0.2.0/24')],
    ["another ticket's id", () => ({ key_id: 'tkt_00000000000000000000000000' })],
    ['reserved bytes', () => ({ reserved: 'x' })],
    ['bytes behind the signature', () => ({ tail: Buffer.of(0) })],
    ['a signature of nothing', () => ({ signature: () => ed25519Signature(freshKey().key, Buffer.alloc(0)) })],
  ]

  test('one that it would sign opens, from its source address too', async () => {
    const issued = await world.ticket()
    expect(await shows(world.port, issued.id, certified(issued, ca))).toBe('in\n')
    const here = certified(issued, ca, critical('source-address', '127.0.0.0/8'))
    expect(await shows(world.port, issued.id, here)).toBe('in\n')
  })

  test.each(forgeries)('%s: refused', async (_what, forged) => {
    const issued = await world.ticket()
    const words = await shows(world.port, issued.id, certified(issued, ca, forged(issued.id)))
    expect(words).toMatch(/authentication methods failed/)
  })

  test('of a foreign CA: refused', async () => {
    const issued = await world.ticket()
    expect(await shows(world.port, issued.id, certified(issued, freshKey().key))).toMatch(/methods failed/)
  })
})

describe('SS9: the host key of the target', () => {
  const other = publicKeyLine(freshKey().blob)
  const ecdsa = publicKeyLine(publicKeyBlob(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey))
  const pinned = (line: string): Edit => ['resources/data.yaml', world.world.web!.hostKey, line]

  test.each([
    ['one that is none of the pinned ones', () => other, 'is none of those that policy pins'],
    ['one of a kind that is not pinned', () => ecdsa, 'cannot be used'],
  ])('%s: refused in one line, nothing is shown to the target, nothing stays', async (_what, line, words) => {
    await world.world.activate(standing, pinned(line()))
    const issued = await world.ticket()
    const before = readFileSync(world.world.web!.logFile, 'utf8').length
    const { code, stdout, stderr } = await ssh(world.world, world.port, issued, 'echo in')
    expect([code, stdout.toString()]).toEqual([255, ''])
    const lines = stderr.split('\n').filter(each => each.includes('sallyport: '))
    expect(lines).toEqual([expect.stringContaining(words)])
    expect(lines[0]).toContain('web-1')
    const logged = readFileSync(world.world.web!.logFile, 'utf8').slice(before)
    expect(logged).not.toMatch(/Accepted|Failed|publickey/)
    await expect
      .poll(async () => JSON.stringify(await world.world.events()), { timeout: 5000 })
      .toContain('cannot be used')
    const open = async () => [...(await world.world.db.execute('select 1 from connections where closed_at is null'))]
    await expect.poll(open).toEqual([])
    await world.world.activate(standing)
    expect((await world.run('echo in')).stdout.toString()).toBe('in\n')
  })
  afterEach(() => world.world.activate(standing))
})

describe('SS12: much of everything', () => {
  test('10,000 channels: most are refused; a second person works on meanwhile', async () => {
    const issued = await world.ticket()
    const client = new ssh2.Client()
    await new Promise<void>((resolve, reject) => {
      client.on('ready', resolve).on('error', reject)
      client.connect({
        host: '127.0.0.1',
        port: world.port,
        username: issued.id,
        password: issued.secret.reveal(),
        hostVerifier: () => true,
      })
    })
    let [opened, refused] = [0, 0]
    const { _handlers } = inner(client)._protocol
    _handlers['CHANNEL_OPEN_CONFIRMATION'] = () => void opened++
    _handlers['CHANNEL_OPEN_FAILURE'] = () => void refused++
    for (let i = 0; i < 10_000; i++) {
      send(inner(client)._protocol, Buffer.concat([Buffer.of(90), field('session'), u32(i), u32(65_536), u32(32_768)]))
      if (i % 250 === 0) await new Promise(setImmediate)
    }
    expect((await world.run('echo in')).stdout.toString()).toBe('in\n')
    await expect.poll(() => opened + refused, { timeout: 20_000 }).toBe(10_000)
    expect(opened).toBeLessThanOrEqual(100)
    client.destroy()
  }, 60_000)

  test('a client that wants nothing but compression finds no common ground', async () => {
    const issued = await world.ticket()
    expect((await ssh(world.world, world.port, issued, '-C', '--', 'echo in')).stdout.toString()).toBe('in\n')
    const client = new ssh2.Client()
    const words = await new Promise<string>(resolve => {
      client.on('error', error => resolve(error.message)).on('close', () => resolve('closed'))
      client.connect({
        host: '127.0.0.1',
        port: world.port,
        username: issued.id,
        password: issued.secret.reveal(),
        hostVerifier: () => true,
        algorithms: { compress: ['zlib@openssh.com', 'zlib'] },
      })
    })
    expect(words).toMatch(/compress/)
  })
})

describe('strict recordings', () => {
  test('are on disk before anything goes on, and nothing is lost or out of order', async () => {
    await world.world.activate(standing, ['recording/recording.rego', '"strict": false', '"strict": true'])
    const child = startSsh(world.world, world.port, await world.ticket(), 'cat')
    const answer = said(child)
    const bytes = Buffer.from(Array.from({ length: 40_000 }, (_, i) => `line ${i}\n`).join(''))
    child.stdin!.end(bytes)
    const { code, stdout } = await answer
    expect([code, stdout.equals(bytes)]).toEqual([0, true])
    const denied = await world.run('sudo id')
    expect([denied.code, denied.stderr]).toEqual([126, expect.stringContaining('action.ssh-become')])
    await world.world.activate(standing)
  })
})

describe('LC2: a right ticket at the wrong place', () => {
  const session: Edit = ['access/access.rego', '"max_connections": 20', '"max_connections": 1']

  test('beyond max_connections: refused with the reason, and the first goes on', async () => {
    await world.world.activate(standing, session)
    const issued = await world.ticket()
    const first = startSsh(world.world, world.port, issued, 'echo up; cat')
    await new Promise(resolve => first.stdout!.once('data', resolve))
    const second = await ssh(world.world, world.port, issued, 'echo in')
    expect([second.code, second.stderr]).toEqual([255, expect.stringMatching(/sallyport: .*connections/)])
    first.stdin!.end()
    expect((await said(first)).code).toBe(0)
  })

  test('from an address that policy does not admit: neither with the certificate, nor with the key', async () => {
    await world.world.activate(standing, ['access/access.rego', '["0.0.0.0/0", "::/0"]', '["192.0.2.0/24"]'])
    const issued = await world.ticket()
    expect((await ssh(world.world, world.port, issued, 'echo in')).code).toBe(255)
    const plain = await ssh(world.world, world.port, { ...issued, credential: {} }, 'echo in')
    expect([plain.code, plain.stdout.toString()]).toEqual([255, ''])
  })
  afterEach(() => world.world.activate(standing))
})

describe('a target', () => {
  test('that dies in the middle: what it said is there, one line says so, and the next session works', async () => {
    const { code, stdout, stderr } = await world.run('echo up; sleep 1; kill -9 $PPID; sleep 5')
    expect([code, stdout.toString()]).toEqual([255, 'up\n'])
    expect(stderr.split('\n').filter(line => line.includes('sallyport: '))).toEqual([
      expect.stringContaining('web-1 closed the connection'),
    ])
    expect((await world.run('echo in')).stdout.toString()).toBe('in\n')
  })

  test('peers that say nothing, or half of something, are cut off, cost nobody else a thing, and leave their address in good standing', async () => {
    expect((await world.run('echo in')).stdout.toString()).toBe('in\n')
    await silent
    expect((await world.run('echo in')).stdout.toString()).toBe('in\n')
  }, 60_000)

  test('that is not there: one line says so', async () => {
    await world.world.web!.stop()
    const { code, stderr } = await world.run('echo in')
    expect(code).toBe(255)
    expect(stderr.split('\n').filter(line => line.includes('sallyport: '))).toEqual([
      expect.stringMatching(/web-1 .*(cannot be|refused)/),
    ])
  })
})
