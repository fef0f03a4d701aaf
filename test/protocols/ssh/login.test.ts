import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inner, send } from '../../../src/protocols/ssh/inside.ts'
import { prepare } from '../../../src/protocols/ssh/person.ts'
import { openMessage } from '../../../src/protocols/ssh/relay/messages.ts'
import { credential } from '../../../src/protocols/ssh/tickets.ts'
import { createSshWorld, type Issued, type SshWorld, ssh } from './world.ts'

let world: SshWorld
beforeAll(async () => {
  world = await createSshWorld()
})
afterAll(() => world?.close())

/** With the secret as a password, by a client that does as it is told. @returns what a command said, or why it came to nothing. */
function byPassword(username: string, password: string, port = world.port): Promise<string> {
  const client = new ssh2.Client()
  return new Promise<string>(resolve => {
    client.on('error', error => resolve(error.message)).on('close', () => resolve('closed'))
    client.on('ready', () =>
      client.exec('echo in', (error, channel) => {
        if (error) return resolve(error.message)
        channel.on('data', (chunk: Buffer) => resolve(chunk.toString()))
      }),
    )
    client.connect({ host: '127.0.0.1', port, username, password, hostVerifier: () => true })
  }).finally(() => client.destroy())
}

describe('three proofs of a ticket', () => {
  test('its certificate, as ssh shows it', async () => {
    expect((await world.run('echo in')).stdout.toString()).toBe('in\n')
  })

  test('its key, without the certificate', async () => {
    const issued = { ...(await world.ticket()), credential: {} }
    expect((await ssh(world.world, world.port, issued, 'echo in')).stdout.toString()).toBe('in\n')
  })

  test('its secret as a password', async () => {
    const issued = await world.ticket()
    expect(await byPassword(issued.id, issued.secret.reveal())).toBe('in\n')
  })
})

describe('LC2, SS2, SS5: what opens nothing', () => {
  test("one ticket's id with another's secret or key", async () => {
    const [one, other] = [await world.ticket(), await world.ticket()]
    expect(await byPassword(one.id, other.secret.reveal())).toMatch(/authentication methods failed/)
    const mixed: Issued = { ...one, prepared: other.prepared, credential: {} }
    expect((await ssh(world.world, world.port, mixed, 'echo in')).stderr).toContain('Permission denied')
  })

  test("a certificate that the CA signed for this ticket over another key than the row's", async () => {
    const issued = await world.ticket()
    const foreign = prepare()
    const signed = credential(issued, foreign.offer, purpose => world.world.keys('ssh', purpose))
    const shown: Issued = { ...issued, prepared: foreign.secret, credential: signed }
    expect((await ssh(world.world, world.port, shown, 'echo in')).stderr).toContain('Permission denied')
  })

  test('a ticket whose session is over', async () => {
    const issued = await world.ticket()
    expect(await byPassword(issued.id, issued.secret.reveal())).toBe('in\n')
    const { grant_id } = issued
    await world.world.approvals.revoke({ grant_id, by: world.person, reason: 'over' } as never)
    expect(await byPassword(issued.id, issued.secret.reveal())).toMatch(/authentication methods failed|closed|no grant/)
  })
})

test('SS3: a channel before the login ends the connection', async () => {
  const client = new ssh2.Client()
  const words = await new Promise<string>(resolve => {
    client.on('error', error => resolve(error.message)).on('close', () => resolve('closed'))
    client.on('handshake', () =>
      send(
        inner(client)._protocol,
        openMessage({ type: 'session', sender: 0, window: 1000, packet: 1000, rest: Buffer.alloc(0) }),
      ),
    )
    client.connect({ host: '127.0.0.1', port: world.port, username: 'tkt_x', password: 'x', hostVerifier: () => true })
  })
  expect(words).toMatch(/closed|lost|Protocol/i)
  client.destroy()
})

test('an unknown key is told where to sign in, and six proofs are the most', async () => {
  const client = new ssh2.Client()
  const prompts: string[] = []
  let tries = 0
  await new Promise<void>(resolve => {
    client.on('error', () => resolve()).on('close', () => resolve())
    client.connect({
      host: '127.0.0.1',
      port: world.port,
      username: 'tkt_00000000000000000000000000',
      hostVerifier: () => true,
      authHandler: (_left, _partial, next) => {
        if (++tries > 20) return next(false as never)
        next({
          type: 'keyboard-interactive',
          username: 'tkt_00000000000000000000000000',
          prompt: (_name, instructions, _language, _prompts, finish) => {
            prompts.push(instructions)
            finish(['guess'])
          },
        })
      },
    })
  })
  client.destroy()
  expect(prompts[0]).toContain('Sign in at http://sallyport.test and run: sallyport connect NAME')
  expect(prompts.length).toBe(6)
})
