import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import ssh2 from 'ssh2'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { endChannel } from '../../../src/protocols/ssh/flow.ts'
import { hardenClient } from '../../../src/protocols/ssh/hardening.ts'
import { inner, send } from '../../../src/protocols/ssh/inside.ts'
import { field, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { closed, closePairs, dial, exec, listen, numbers, pair, pause } from './pair.ts'
import { clientOptions, keyFolder, run, sshKeygen } from './sshd.ts'

afterEach(closePairs)
const folder = keyFolder()
afterAll(() => folder.gone())

const MiB = 1024 * 1024
const block = randomBytes(64 * 1024)

/** Writes so many blocks as fast as the stream takes them; tells how much it took. */
async function pour(stream: Writable, blocks: number, stop = { stopped: false }): Promise<number> {
  let taken = 0
  for (; taken < blocks && !stop.stopped; taken++) {
    if (!stream.write(block)) await Promise.race([once(stream, 'drain'), once(stream, 'close'), pause(3000)])
  }
  return taken
}

async function digest(stream: Readable): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256')
  let size = 0
  stream.on('data', (data: Buffer) => {
    hash.update(data)
    size += data.length
  })
  await once(stream, 'end')
  return { size, sha256: hash.digest('hex') }
}

function digestOf(blocks: number): { size: number; sha256: string } {
  const hash = createHash('sha256')
  for (let i = 0; i < blocks; i++) hash.update(block)
  return { size: blocks * block.length, sha256: hash.digest('hex') }
}

describe('points 1 and 4: what a target says', () => {
  test('output and errors together, both beyond the window, arrive whole, and so does the exit code', async () => {
    const blocks = 24 * 16
    const { client } = await pair({
      exec: async channel => {
        await Promise.all([pour(channel, blocks), pour(channel.stderr, blocks)])
        await endChannel(channel, { code: 7 })
      },
    })
    const channel = await exec(client)
    const exit = once(channel, 'exit')
    const [out, err] = await Promise.all([digest(channel), digest(channel.stderr)])
    expect(out).toEqual(digestOf(blocks))
    expect(err).toEqual(digestOf(blocks))
    expect(await exit).toEqual([7])
  }, 20_000)

  test('the end of a channel loses nothing to a client that reads slowly', async () => {
    const blocks = 6 * 16
    let ended = false
    const { client } = await pair({
      exec: async channel => {
        for (let i = 0; i < blocks; i++) channel.write(block)
        await endChannel(channel, { signal: 'TERM', dumped: false, message: 'stopped' })
        ended = true
      },
    })
    const channel = await exec(client)
    const exit = once(channel, 'exit')
    await pause(200)
    expect(ended).toBe(false)
    expect(await digest(channel)).toEqual(digestOf(blocks))
    expect((await exit).slice(0, 2)).toEqual([null, 'SIGTERM'])
  })

  test('a client that closes the channel first leaves nothing waiting', async () => {
    let ended: Promise<void> | undefined
    const { client } = await pair({
      exec: channel => {
        for (let i = 0; i < 100; i++) {
          channel.write(block)
          channel.stderr.write(block)
        }
        ended = endChannel(channel, { code: 0 })
      },
    })
    const channel = await exec(client)
    await pause(50)
    channel.close()
    await ended
  })
})

describe('point 2: a client that does not read', () => {
  test('costs little more than a megabyte, whatever window it grants', async () => {
    const stop = { stopped: false }
    const { client, raw, clientSocket, serverSocket } = await pair({
      exec: async channel => void (await pour(channel, 4096, stop)),
    })
    const channel = await exec(client)
    raw._protocol.channelWindowAdjust(numbers(channel).theirs, 2 ** 31)
    clientSocket.pause()
    let most = 0
    for (let i = 0; i < 40; i++) {
      await pause(25)
      most = Math.max(most, serverSocket.writableLength)
    }
    stop.stopped = true
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThan(2 * MiB)
  })

  test('and goes on when it reads again', async () => {
    const blocks = 32 * 16
    const { client, raw, clientSocket } = await pair({
      exec: async channel => {
        await pour(channel, blocks)
        await endChannel(channel, { code: 0 })
      },
    })
    const channel = await exec(client)
    raw._protocol.channelWindowAdjust(numbers(channel).theirs, 2 ** 31)
    clientSocket.pause()
    await pause(200)
    clientSocket.resume()
    expect(await digest(channel)).toEqual(digestOf(blocks))
  })

  test('costs no more while an exchange of keys hangs, and is cut when that lasts', async () => {
    const stop = { stopped: false }
    const { client, raw, connection, clientSocket, serverSocket } = await pair({
      limits: { rekey_stall_s: 1 },
      exec: async channel => void (await pour(channel, 4096, stop)),
    })
    const channel = await exec(client)
    channel.resume()
    raw._protocol.channelWindowAdjust(numbers(channel).theirs, 2 ** 31)
    raw._protocol.rekey()
    clientSocket.pause()
    await pause(500)
    expect(inner(connection)._protocol._kexinit).toBeDefined()
    expect(inner(connection)._protocol._queue?.length ?? 0).toBeLessThan(100)
    expect(await closed(serverSocket)).toBe(true)
    stop.stopped = true
  })

  test('and only asks is cut when the answers pile up', async () => {
    const { client, raw, clientSocket, serverSocket } = await pair({ limits: { outgoing_max_bytes: 64 * 1024 } })
    clientSocket.pause()
    const question = Buffer.concat([u8(80), field('what@example.com'), u8(1)])
    for (let i = 0; i < 1_000_000 && !serverSocket.destroyed; i++) {
      send(raw._protocol, question)
      if (i % 1000 === 0) await pause(1)
    }
    expect(await closed(serverSocket)).toBe(true)
    client.end()
  }, 60_000)
})

describe('point 3: a client that sends beyond the window', () => {
  test('is cut off before its bytes are kept', async () => {
    const kept: ssh2.ServerChannel[] = []
    const { client, raw, serverSocket } = await pair({ exec: channel => void kept.push(channel) })
    const { theirs } = numbers(await exec(client))
    for (let i = 0; i < 400 && !serverSocket.destroyed; i++) {
      raw._protocol.channelData(theirs, block.subarray(0, 30_000))
      await pause(0)
    }
    expect(await closed(serverSocket)).toBe(true)
    expect(kept[0]!.readableLength).toBeLessThanOrEqual(3.1 * MiB)
  })

  test('a target that does so is cut off as well', async () => {
    const { client, connection, clientSocket } = await pair({ hardenedClient: true, exec: () => {} })
    const channel = await exec(client)
    const id = (channel as unknown as { incoming: { id: number } }).incoming.id
    for (let i = 0; i < 400 && !clientSocket.destroyed; i++) {
      ;(inner(connection)._protocol as never as { channelData(id: number, data: Buffer): void }).channelData(
        id,
        block.subarray(0, 30_000),
      )
      await pause(0)
    }
    expect(await closed(clientSocket)).toBe(true)
    expect(channel.readableLength).toBeLessThanOrEqual(3.1 * MiB)
  })
})

describe('point 5: what a client sends before its request is accepted', () => {
  test('waits with its end, and arrives whole', async () => {
    const read: Promise<{ size: number; sha256: string }>[] = []
    const { client } = await pair({
      accept: async take => {
        await pause(200)
        const channel = take()
        read.push(digest(channel))
        await endChannel(channel, { code: 0 })
      },
    })
    // The stream of ssh2's client exists only after the reply: what OpenSSH sends before it is sent by hand.
    const arriving = exec(client)
    await pause(20)
    const protocol = inner(client)._protocol
    for (let i = 0; i < 4; i++) send(protocol, Buffer.concat([u8(94), u32(0), field(block.subarray(0, 30_000))]))
    send(protocol, Buffer.concat([u8(96), u32(0)]))
    const channel = await arriving
    channel.resume()
    await once(channel, 'close')
    expect((await read[0]!).size).toBe(120_000)
  })

  test('waits no longer than the window is wide', async () => {
    const { client, serverSocket } = await pair({ accept: () => {} })
    exec(client).catch(() => {})
    await pause(20)
    for (let i = 0; i < 80; i++)
      send(inner(client)._protocol, Buffer.concat([u8(94), u32(0), field(block.subarray(0, 30_000))]))
    expect(await closed(serverSocket)).toBe(true)
  })

  test('a real ssh whose input ended at once gets its answer', async () => {
    const { port } = await listen({
      accept: async take => {
        await pause(300)
        const channel = take()
        channel.pipe(channel as never, { end: false })
        channel.once('end', () => void endChannel(channel, { code: 5 }))
      },
    })
    expect(await run('ssh', ['-l', 'ada', ...clientOptions(port), '127.0.0.1', 'cat'], 'hello')).toMatchObject({
      code: 5,
      out: 'hello',
    })
  })
})

describe('point 6: limits', () => {
  test('after six failed proofs the connection ends', async () => {
    const { port } = await listen({})
    const { client, clientSocket } = await dial(port, {
      client: {
        username: 'mallory',
        authHandler: (_left, _partial, next) => next({ type: 'password', username: 'mallory', password: 'x' }),
      },
    })
    let tries = 0
    const failed = inner(client)._protocol._handlers['USERAUTH_FAILURE']!
    inner(client)._protocol._handlers['USERAUTH_FAILURE'] = (...given) => {
      tries++
      failed(...given)
    }
    expect(await closed(clientSocket)).toBe(true)
    expect(tries).toBe(5)
  })

  test('questions without an end do so too', async () => {
    const { port } = await listen({})
    const { client, clientSocket } = await dial(port, { client: { username: 'mallory', authHandler: [] } })
    await once(client, 'handshake')
    await pause(50)
    const key = Buffer.concat([field('ssh-ed25519'), field(Buffer.alloc(32))])
    const question = [
      u8(50),
      field('mallory'),
      field('ssh-connection'),
      field('publickey'),
      u8(0),
      field('ssh-ed25519'),
    ]
    const { next } = { next: Buffer.concat([...question, field(key)]) }
    for (let i = 0; i < 80 && !clientSocket.destroyed; i++) {
      send(inner(client)._protocol, next)
      await pause(1)
    }
    expect(await closed(clientSocket)).toBe(true)
  })

  test('SS12: a peer that says nothing, or stops in the middle of a login, is cut off in time', async () => {
    const { port } = await listen({ limits: { login_s: 0.3 } })
    const silent = connect(port, '127.0.0.1')
    const half = connect(port, '127.0.0.1')
    half.write('SSH-2.0-half\r\n')
    const { clientSocket } = await dial(port, { client: { username: 'mallory', authHandler: () => {} } })
    for (const socket of [silent, half, clientSocket]) {
      socket.resume().on('error', () => {})
      expect(await closed(socket, 2000)).toBe(true)
    }
  })

  test('SS12: a login that succeeded is not cut off by that, and of 10,000 channels 64 are open', async () => {
    const { client, serverSocket } = await pair({ limits: { login_s: 0.5 }, exec: channel => void channel.resume() })
    let opened = 0
    let refused = 0
    const reply = inner(client)._protocol._handlers
    const [confirm, failure] = [reply['CHANNEL_OPEN_CONFIRMATION']!, reply['CHANNEL_OPEN_FAILURE']!]
    reply['CHANNEL_OPEN_CONFIRMATION'] = (...given) => {
      opened++
      confirm(...given)
    }
    reply['CHANNEL_OPEN_FAILURE'] = (...given) => {
      refused++
      failure(...given)
    }
    for (let i = 0; i < 10_000; i++) {
      send(inner(client)._protocol, Buffer.concat([u8(90), field('session'), u32(i), u32(65536), u32(32768)]))
      if (i % 500 === 0) await pause(1)
    }
    for (let i = 0; i < 300 && opened + refused < 10_000; i++) await pause(20)
    expect({ opened, refused }).toEqual({ opened: 64, refused: 9936 })
    await pause(500)
    expect(serverSocket.destroyed).toBe(false)
  })

  test('SS3: a message of the connection protocol before authentication ends the connection', async () => {
    const { port } = await listen({})
    for (const message of [
      Buffer.concat([u8(90), field('session'), u32(0), u32(65536), u32(32768)]),
      Buffer.concat([u8(98), u32(0), field('exec'), u8(1), field('id')]),
      Buffer.concat([u8(80), field('tcpip-forward'), u8(1), field(''), u32(0)]),
    ]) {
      const { client, clientSocket } = await dial(port, { client: { username: 'mallory', authHandler: () => {} } })
      await once(client, 'handshake')
      send(inner(client)._protocol, message)
      expect(await closed(clientSocket, 2000)).toBe(true)
    }
  })

  test('packets of no size are refused, and do not stop the process', async () => {
    const { client } = await pair({ exec: channel => void endChannel(Object.assign(channel, {}), { code: 0 }) })
    const refused = new Promise(done => {
      inner(client)._protocol._handlers['CHANNEL_OPEN_FAILURE'] = (_p, _id, _reason, why) => done(why)
    })
    send(inner(client)._protocol, Buffer.concat([u8(90), field('session'), u32(9), u32(65536), u32(0)]))
    expect(await refused).toBe('packets below 1024 bytes')
    const { client: other } = await pair({ exec: channel => void endChannel(channel, { code: 0 }) })
    expect((await once((await exec(other)).resume(), 'close'))[0]).toBe(0)
  })
})

describe('point 7: peers that are gone', () => {
  test('a client that stopped is cut off, not only said good-bye to', async () => {
    const { clientSocket, serverSocket } = await pair({ server: { keepaliveInterval: 100, keepaliveCountMax: 2 } })
    clientSocket.pause()
    expect(await closed(serverSocket, 3000)).toBe(true)
  })

  test('a connection that breaks the protocol is cut off although its peer keeps its side open', async () => {
    const { raw, clientSocket, serverSocket } = await pair({ limits: { linger_s: 0.2 } })
    clientSocket.pause()
    send(raw._protocol, Buffer.concat([u8(97), u32(0xffffffff)]))
    expect(await closed(serverSocket, 3000)).toBe(true)
  })

  test('to a target, keepalive is demanded', async () => {
    const { port } = await listen({})
    const client = new ssh2.Client().on('error', () => {})
    const sock = connect(port, '127.0.0.1').on('error', () => {})
    client.connect({ sock, username: 'ada', hostVerifier: () => true })
    expect(() => hardenClient(client, sock)).toThrow('keepaliveInterval')
    expect(sock.destroyed).toBe(true)
  })
})

describe('point 8: the list of signature algorithms', () => {
  test('has its comma, and neither SHA-1 nor DSA', async () => {
    const { port } = await listen({})
    const { client } = await dial(port)
    const said = new Promise<unknown>(done => {
      inner(client)._protocol._handlers['EXT_INFO'] = (_p, extensions) => done(extensions)
    })
    expect(await said).toEqual([
      {
        name: 'server-sig-algs',
        algs: [
          'ssh-ed25519',
          'sk-ssh-ed25519@openssh.com',
          'ecdsa-sha2-nistp256',
          'ecdsa-sha2-nistp384',
          'ecdsa-sha2-nistp521',
          'sk-ecdsa-sha2-nistp256@openssh.com',
          'rsa-sha2-512',
          'rsa-sha2-256',
        ],
      },
    ])
  })

  test('a real ssh that may sign with rsa-sha2-512 only does so', async () => {
    const key = join(folder.path, 'rsa')
    sshKeygen('-t', 'rsa', '-b', '2048', '-f', key)
    const { port } = await listen({})
    const only = ['-o', 'PubkeyAcceptedAlgorithms=rsa-sha2-512', '-i', key]
    const said = await run('ssh', ['-v', '-l', 'mallory', ...only, ...clientOptions(port), '127.0.0.1', 'x'])
    expect(said.err).not.toContain('no mutual signature algorithm')
    expect(said.err).toContain('rsa-sha2-512,rsa-sha2-256>')
  })
})

describe('point 9: host keys', () => {
  test('a connection that would take any host key is not made', async () => {
    const { port } = await listen({})
    const client = new ssh2.Client().on('error', () => {})
    const sock = connect(port, '127.0.0.1').on('error', () => {})
    client.connect({ sock, username: 'ada', keepaliveInterval: 1000 })
    expect(() => hardenClient(client, sock)).toThrow('any host key')
    expect(sock.destroyed).toBe(true)
  })
})

describe('point 11: keys are renewed', () => {
  test.each([
    ['by us towards clients', false],
    ['by us towards targets', true],
  ])(
    'by bytes, %s, and not a byte is lost',
    async (_what, hardenedClient) => {
      const { port, next } = await listen({
        limits: { rekey_bytes: hardenedClient ? 1e12 : MiB },
        exec: channel => void channel.pipe(channel as never),
      })
      const arriving = next()
      const { client } = await dial(port, { hardenedClient, limits: { rekey_bytes: MiB } })
      await once(client, 'ready')
      const { connection } = await arriving
      let renewed = 0
      connection.on('rekey', () => renewed++)
      const channel = await exec(client)
      const got = digest(channel)
      const blocks = 60
      for (let i = 0; i < blocks; i++) {
        channel.write(block)
        await pause(60)
      }
      channel.end()
      expect(await got).toEqual(digestOf(blocks))
      expect(renewed).toBeGreaterThanOrEqual(1)
    },
    20_000,
  )

  test('by time, on an idle connection', async () => {
    const { connection } = await pair({ limits: { rekey_s: 1 } })
    await once(connection, 'rekey')
  })

  test('and a peer that wants nothing else is cut off', async () => {
    const { client, clientSocket, serverSocket } = await pair()
    for (let i = 0; i < 200 && !serverSocket.destroyed; i++) {
      inner(client)._protocol.rekey()
      await Promise.race([once(client, 'handshake'), once(clientSocket, 'close')])
    }
    expect(serverSocket.destroyed).toBe(true)
  }, 30_000)
})
