import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import ssh2, { type AuthContext } from 'ssh2'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { hardenClient } from '../../../src/protocols/ssh/hardening.ts'
import { inner, send } from '../../../src/protocols/ssh/inside.ts'
import { M } from '../../../src/protocols/ssh/relay/messages.ts'
import { FieldReader, field, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { clientOptions, keyFolder, run, sshKeygen } from './sshd.ts'
import {
  closeAll,
  closed,
  dialled,
  digest,
  entered,
  exec,
  pause,
  raw,
  type Through,
  through,
  ticketId,
} from './through.ts'

/** The holes of ssh2 (wire/README.md), by number, on the way that a client's bytes really take. */
afterEach(closeAll)
const folder = keyFolder()
afterAll(() => folder.gone())

const MiB = 1024 * 1024
const block = randomBytes(64 * 1024)
const piece = block.subarray(0, 30_000)

function digestOf(blocks: number): { size: number; sha256: string } {
  const hash = createHash('sha256')
  for (let i = 0; i < blocks; i++) hash.update(block)
  return { size: blocks * block.length, sha256: hash.digest('hex') }
}

async function pour(stream: Writable, blocks: number): Promise<void> {
  for (let i = 0; i < blocks; i++)
    if (!stream.write(block)) await Promise.race([once(stream, 'drain'), once(stream, 'close')])
}

const says = (blocks: number, code: number) => async (channel: ssh2.ServerChannel) => {
  await pour(channel, blocks)
  channel.exit(code)
  channel.end()
}

const dataBytes = (got: readonly Buffer[]) =>
  got.filter(each => each[0] === M.data).reduce((sum, each) => sum + each.length - 9, 0)

/** As `ssh2` would never send it. */
function overflow(connection: ssh2.Connection, channel: number): void {
  const protocol = inner(connection)._protocol
  for (let i = 0; i < 400; i++) send(protocol, Buffer.concat([u8(M.data), u32(channel), field(piece)]))
}

describe('point 2: a client that does not read', () => {
  test('costs little more than a megabyte, whatever window it grants; when it reads again, everything is there', async () => {
    const world = await through({ exec: says(32 * 16, 0) })
    const client = await raw(world.port)
    client.open(0, 2 ** 31)
    const channel = new FieldReader(await client.next(M.openConfirmation), 5).u32()
    client.exec(channel)
    client.socket.pause()
    let most = 0
    for (let i = 0; i < 40; i++) {
      await pause(25)
      most = Math.max(most, world.clients[0]!.writableLength)
    }
    expect(most).toBeGreaterThan(MiB / 2)
    expect(most).toBeLessThan(2 * MiB)
    expect(world.targets[0]!.isPaused()).toBe(true)
    client.socket.resume()
    await expect.poll(() => dataBytes(client.got), { timeout: 20_000 }).toBe(32 * MiB)
  })

  test('costs no more while an exchange of keys hangs, and is cut when that lasts', async () => {
    const world = await through({ limits: { rekey_stall_ms: 800 }, exec: says(64 * 16, 0) })
    const client = await raw(world.port)
    await client.running(2 ** 31)
    client.protocol.rekey()
    client.socket.pause()
    await expect.poll(() => world.targets[0]!.isPaused()).toBe(true)
    expect(world.targets[0]!.bytesRead).toBeLessThan(24 * MiB) // what the kernel had taken before
    expect(await closed(world.clients[0]!)).toBe(true)
    expect(await closed(world.targets[0]!)).toBe(true)
  })

  test('and only asks is cut when the answers pile up', async () => {
    const world = await through({ limits: { outgoing_max_bytes: 64 * 1024 } })
    const client = await raw(world.port)
    client.socket.pause()
    const question = Buffer.concat([u8(M.globalRequest), field('what@example.com'), u8(1)])
    for (let i = 0; i < 1_000_000 && !world.clients[0]!.destroyed; i++) {
      client.send(question)
      if (i % 1000 === 0) await pause(1)
    }
    expect(await closed(world.clients[0]!)).toBe(true)
  }, 60_000)
})

describe('point 3: who sends beyond the window', () => {
  test('is cut off: a client', async () => {
    const world = await through({ exec: channel => void channel.pause() })
    const client = await raw(world.port)
    const channel = await client.running()
    for (let i = 0; i < 400 && !world.clients[0]!.destroyed; i++) {
      client.send(u8(M.data), u32(channel), field(piece))
      if (i % 10 === 0) await pause(1)
    }
    expect(await closed(world.clients[0]!)).toBe(true)
    expect(world.closedWith[0]).toMatch(/the client sent 30000 bytes sent, where \d+ were granted/)
  })

  test('is cut off: a target, and the person reads so', async () => {
    const world = await through({ exec: () => {} })
    const client = await raw(world.port)
    await client.running(100_000)
    overflow(world.targetSide[0]!, 0)
    expect(await closed(world.targets[0]!)).toBe(true)
    expect(world.closedWith[0]).toMatch(/web-1 sent 30000 bytes sent, where \d+ were granted/)
  })
})

describe('point 4: the end of what a target says', () => {
  test.each([false, true])('is not lost to a client that reads slowly (strict recording: %s)', async strict => {
    const world = await through({ strict, exec: says(6 * 16, 7) })
    const { client, socket } = await entered(world.port)
    const channel = await exec(client)
    const exit = once(channel, 'exit')
    socket.pause()
    await pause(300)
    socket.resume()
    expect(await digest(channel)).toEqual(digestOf(6 * 16))
    expect(await exit).toEqual([7])
  })

  test.each([false, true])('nor where the target then closes the whole connection (strict: %s)', async strict => {
    const world: Through = await through({
      strict,
      exec: async channel => {
        await pour(channel, 6 * 16)
        channel.end()
        channel.once('finish', () => setTimeout(() => world.targetSide[0]!.end(), 20))
      },
    })
    const { client, socket } = await entered(world.port)
    const channel = await exec(client)
    socket.pause()
    await pause(300)
    socket.resume()
    expect(await digest(channel)).toEqual(digestOf(6 * 16))
    await expect.poll(() => world.closedWith).toHaveLength(1)
  })
})

describe('point 5: what a client sends before anything answers', () => {
  test('reaches the command whole, with its end', async () => {
    const world = await through({
      exec: async channel => {
        const { size } = await digest(channel)
        channel.write(`${size}`)
        channel.exit(5)
        channel.end()
      },
    })
    const client = await raw(world.port)
    client.open(0)
    const channel = new FieldReader(await client.next(M.openConfirmation), 5).u32()
    client.exec(channel)
    for (let i = 0; i < 4; i++) client.send(u8(M.data), u32(channel), field(piece))
    client.send(u8(M.eof), u32(channel))
    expect((await client.next(M.data)).subarray(9).toString()).toBe('120000')
    const exit = new FieldReader(await client.next(M.request), 5)
    expect([exit.text(), exit.u8(), exit.u32()]).toEqual(['exit-status', 0, 5])
  })

  test('waits while the target is dialled, and no longer than a chunk is', async () => {
    const world = await through({ exec: says(1, 0), target: connection => void hold(connection) })
    const { client, socket } = await entered(world.port)
    const running = exec(client)
    await pause(100)
    expect(world.clients[0]!.isPaused()).toBe(true)
    expect(await digest(await running)).toEqual(digestOf(1))
    socket.destroy()
  })
})

/** A target that takes its time for the login. */
function hold(connection: ssh2.Connection): void {
  const emit = connection.emit.bind(connection) as (...given: unknown[]) => boolean
  connection.emit = ((event: string, ...rest: unknown[]) => {
    if (event !== 'authentication') return emit(event, ...rest)
    setTimeout(() => emit(event, ...rest), 300)
    return true
  }) as typeof connection.emit
}

describe('point 6: limits', () => {
  test('after six failed proofs the connection ends, and one Event counts them', async () => {
    const world = await through()
    const { socket } = await dialled(world.port, {
      authHandler: (_left, _partial, next) => next({ type: 'password', username: 'mallory', password: 'x' }),
    })
    expect(await closed(socket)).toBe(true)
    expect(world.failed.map(([reason]) => reason)).toEqual([...Array(6).fill('secret'), 'tries'])
  })

  test('questions without an end do so too', async () => {
    const world = await through()
    const { client, socket } = await dialled(world.port, { authHandler: () => {} })
    await once(client, 'handshake')
    await pause(50)
    inner(client)._protocol._handlers['USERAUTH_FAILURE'] = () => {} // ssh2's own client ends at an answer it did not wait for
    const question = Buffer.concat([u8(50), field(ticketId), field('ssh-connection'), field('none')])
    let asked = 0
    for (; asked < 80 && !socket.destroyed; asked++) {
      send(inner(client)._protocol, question)
      await pause(2)
    }
    expect(await closed(socket, 2_000)).toBe(true)
    expect(asked).toBeGreaterThan(50)
  })

  test('SS12: a peer that says nothing, or stops in the middle of a login, is cut off in time; it failed no login', async () => {
    const world = await through({ login_ms: 300 })
    const silent = connect(world.port, '127.0.0.1')
    const half = connect(world.port, '127.0.0.1')
    half.write('SSH-2.0-half\r\n')
    const { socket } = await dialled(world.port, { authHandler: () => {} })
    for (const each of [silent, half, socket]) {
      each.resume().on('error', () => {})
      expect(await closed(each)).toBe(true)
    }
    expect(world.failed).toEqual([])
  })

  test('SS12: who logged in in time stays, and of 10,000 channels 100 are open', async () => {
    const world = await through({ login_ms: 2500 })
    const client = await raw(world.port)
    for (let i = 0; i < 10_000; i++) {
      client.open(i)
      if (i % 500 === 0) await pause(1)
    }
    const count = (kind: number) => client.got.filter(each => each[0] === kind).length
    const both = () => count(M.openConfirmation) + count(M.openFailure)
    await expect.poll(both, { timeout: 20_000 }).toBe(10_000)
    expect(count(M.openConfirmation)).toBe(100)
    await pause(2500)
    expect(client.socket.destroyed).toBe(false)
  })

  test('SS3: a message of the connection protocol before the login ends the connection', async () => {
    const world = await through()
    for (const message of [
      Buffer.concat([u8(90), field('session'), u32(0), u32(65536), u32(32768)]),
      Buffer.concat([u8(98), u32(0), field('exec'), u8(1), field('id')]),
      Buffer.concat([u8(80), field('tcpip-forward'), u8(1), field(''), u32(0)]),
    ]) {
      const { client, socket } = await dialled(world.port, { authHandler: () => {} })
      await once(client, 'handshake')
      send(inner(client)._protocol, message)
      expect(await closed(socket)).toBe(true)
    }
    expect(world.failed.map(([reason]) => reason)).toEqual(Array(3).fill('malformed'))
  })

  test('SS3: a target that does so before its login is cut off', async () => {
    const early = Buffer.concat([u8(80), field('hostkeys-00@openssh.com'), u8(0)])
    const world = await through({
      target: connection => connection.on('handshake', () => send(inner(connection)._protocol, early)),
    })
    const { client } = await entered(world.port)
    await once(client, 'close')
    expect(world.closedWith[0]).toContain('web-1 cannot be used')
  })

  test('packets of hardly any size are refused', async () => {
    const world = await through({ exec: says(1, 0) })
    const client = await raw(world.port)
    client.open(9, 65_536, 0)
    const why = new FieldReader(await client.next(M.openFailure), 9).text()
    expect(why).toBe('packets of less than 1024 bytes')
    await client.running()
  })
})

describe('point 7: peers that are gone', () => {
  const limits = { ask_ms: 60, unanswered: 2 }

  test('a client that stopped is cut off, and its target with it', async () => {
    const world = await through({ limits })
    const { client, socket } = await entered(world.port)
    await expect.poll(() => world.targets.length).toBe(1)
    socket.pause()
    expect(await closed(world.clients[0]!)).toBe(true)
    expect(await closed(world.targets[0]!)).toBe(true)
    expect(world.closedWith).toEqual(['the client closed the connection'])
    client.end()
  })

  test('a target that is half open is cut off, and the person reads so', async () => {
    const world = await through({ limits, exec: channel => void channel.pause() })
    const { client } = await entered(world.port)
    await exec(client)
    inner(world.targetSide[0]!)._sock!.pause()
    await once(client, 'close')
    expect(world.closedWith).toEqual(['web-1 closed the connection'])
  })

  test('who only has nothing to say stays', async () => {
    const world = await through({ limits })
    const { socket } = await entered(world.port)
    await pause(1000)
    expect(socket.destroyed).toBe(false)
    expect(world.closedWith).toEqual([])
  })

  test('a connection that breaks the protocol is cut off although its peer keeps its side open', async () => {
    const world = await through({ limits: { linger_ms: 200 }, exec: channel => void channel.pause() })
    const client = await raw(world.port)
    await client.running()
    client.socket.pause()
    client.send(u8(97), u32(0xffffffff))
    expect(await closed(world.clients[0]!)).toBe(true)
    expect(world.closedWith[0]).toContain('a channel that is not open')
  })
})

test('point 7: a target that breaks its encryption is cut off although it keeps its side open, and the person reads so', async () => {
  const world = await through({ limits: { linger_ms: 200 }, exec: channel => void channel.pause() })
  const client = await raw(world.port)
  await client.running()
  const socket = inner(world.targetSide[0]!)._sock!
  socket.allowHalfOpen = true
  socket.removeAllListeners('end').removeAllListeners('data').resume()
  socket.write(Buffer.alloc(4096, 0xff))
  expect(await closed(world.targets[0]!, 3_000)).toBe(true)
  expect(await client.over()).toContain('web-1 closed the connection')
})

describe('point 8: the list of signature algorithms', () => {
  test('has its comma, and neither SHA-1 nor DSA', async () => {
    const { port } = await through()
    const { client } = await dialled(port)
    const said = new Promise<unknown>(done => {
      inner(client)._protocol._handlers['EXT_INFO'] = (_p, extensions) => done(extensions)
    })
    const algs =
      'ssh-ed25519 sk-ssh-ed25519@openssh.com ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 ' +
      'sk-ecdsa-sha2-nistp256@openssh.com rsa-sha2-512 rsa-sha2-256'
    expect(await said).toEqual([{ name: 'server-sig-algs', algs: algs.split(' ') }])
  })

  test('a real ssh that may sign with rsa-sha2-512 only would do so', async () => {
    const key = join(folder.path, 'rsa')
    sshKeygen('-t', 'rsa', '-b', '2048', '-f', key)
    const { port } = await through()
    const only = ['-o', 'PubkeyAcceptedAlgorithms=rsa-sha2-512', '-i', key]
    const said = await run('ssh', ['-v', '-l', 'mallory', ...only, ...clientOptions(port), '127.0.0.1', 'x'])
    expect(said.err).not.toContain('no mutual signature algorithm')
    expect(said.err).toContain('rsa-sha2-512,rsa-sha2-256>')
  })

  test('to a target that has no such list, a stored RSA key signs with SHA-512, never with SHA-1', async () => {
    const key = join(folder.path, 'stored')
    sshKeygen('-t', 'rsa', '-b', '2048', '-f', key)
    const seen: AuthContext[] = []
    const world = await through({
      auth: { kind: 'key', pem: readFileSync(key, 'utf8') },
      exec: says(1, 0),
      target: connection => {
        const protocol = inner(connection)._protocol
        const complete = protocol._onHandshakeComplete
        protocol._onHandshakeComplete = (...given) => {
          protocol._kex!.remoteExtInfoEnabled = false
          complete(...given)
        }
        connection.on('authentication', context => void seen.push(context))
      },
    })
    const { client } = await entered(world.port)
    expect((await digest(await exec(client))).size).toBe(block.length)
    const keys = seen.filter(context => context.method === 'publickey')
    expect(keys.map(context => context.hashAlgo)).toEqual(['sha512'])
  })
})

describe('point 9: host keys', () => {
  test('a connection that would take any host key is not made', async () => {
    const { port } = await through()
    const client = new ssh2.Client().on('error', () => {})
    const sock = connect(port, '127.0.0.1').on('error', () => {})
    client.connect({ sock, username: 'ada' })
    expect(() => hardenClient(client, sock)).toThrow('any host key')
    expect(sock.destroyed).toBe(true)
  })
})

describe('point 11: keys are renewed', () => {
  test('by bytes, on both legs, and not a byte is lost', async () => {
    const world = await through({ limits: { rekey_bytes: MiB }, exec: channel => void channel.pipe(channel as never) })
    const { client } = await entered(world.port)
    let [towardsClient, towardsTarget] = [0, 0]
    client.on('handshake', () => towardsClient++)
    await expect.poll(() => world.targetSide.length).toBe(1)
    world.targetSide[0]!.on('rekey', () => towardsTarget++)
    const channel = await exec(client)
    const got = digest(channel)
    for (let i = 0; i < 60; i++) {
      channel.write(block)
      await pause(60)
    }
    channel.end()
    expect(await got).toEqual(digestOf(60))
    expect(towardsClient).toBeGreaterThanOrEqual(1)
    expect(towardsTarget).toBeGreaterThanOrEqual(1)
  })

  test('by time, on an idle connection', async () => {
    const { port } = await through({ limits: { rekey_ms: 200 } })
    const { client } = await entered(port)
    await once(client, 'handshake')
  })

  test('and a peer that wants nothing else is cut off', async () => {
    const world = await through()
    const { client, socket } = await entered(world.port)
    for (let i = 0; i < 200 && !world.clients[0]!.destroyed; i++) {
      inner(client)._protocol.rekey()
      await Promise.race([once(client, 'handshake'), once(socket, 'close')])
    }
    expect(world.clients[0]!.destroyed).toBe(true)
  })
})

describe('SS4: Terrapin', () => {
  test('strict key exchange is negotiated, and no cipher that it needs is offered', async () => {
    const { port } = await through()
    const { err } = await run('ssh', ['-vvv', '-l', 'x', ...clientOptions(port), '127.0.0.1', 'x'])
    expect(err).toContain('will use strict KEX ordering')
    expect(err).toMatch(/peer server KEXINIT[\s\S]*ciphers ctos: aes128-gcm@openssh.com,aes256-gcm@openssh.com\r?\n/)
  })
})
