import { existsSync, rmSync } from 'node:fs'
import ssh2 from 'ssh2'
import { inner, send } from '../../../src/protocols/ssh/inside.ts'
import { requestMessage } from '../../../src/protocols/ssh/relay/messages.ts'
import type { ConformanceKit, Issued } from '../conformance.ts'
import { ssh, standing, startSsh } from './world.ts'

const mark = 'that-was-all'
const frobnicate = 'frobnicate'

/** SSH by OpenSSH's own client; by ssh2 for what that one would never say. */
export const sshKit: ConformanceKit = {
  world: { web: [] },
  edits: [
    standing,
    ['action/production.rego', 'places.production', 'not places.development'],
    ['action/production.rego', '"halt", ', '"halt", "printf", '],
  ],
  resource: 'web-1',
  role: 'operator',
  run: async (world, port, issued, action) => {
    const { stdout, stderr } = await ssh(world, port, issued, action)
    return stdout.toString() + stderr
  },
  open: async (world, port, issued) => {
    const child = startSsh(world, port, issued, 'exec sh')
    let out = ''
    let told = ''
    child.stdout!.on('data', chunk => (out += chunk))
    child.stderr!.on('data', chunk => (told += chunk))
    child.stdin!.on('error', () => {})
    const ended = new Promise<string>(resolve => child.once('close', () => resolve(told)))
    const act = async (action: string) => {
      if (action === frobnicate) return await unknownRequest(port, issued)
      out = ''
      child.stdin!.write(`${action}; echo ${mark}\n`)
      const gone = ended.then(words => {
        throw new Error(words)
      })
      while (!out.includes(mark))
        await Promise.race([gone, new Promise(resolve => child.stdout!.once('data', resolve))])
      return out
    }
    await act('true')
    return { act, ended }
  },
  allowed: { action: 'echo $((6 * 7)) is the answer', answers: '42 is the answer' },
  denied: {
    action: 'sudo touch /tmp/sallyport-denied',
    happened: async () => {
      const there = existsSync('/tmp/sallyport-denied')
      rmSync('/tmp/sallyport-denied', { force: true })
      return there
    },
  },
  held: { action: 'printf fortytwo', answers: 'fortytwo' },
  notUnderstood: frobnicate,
  recorded: ['connected', 'channel_open', 'statement', 'output', 'exit', 'disconnected'],
  hostile: [
    Buffer.alloc(0),
    Buffer.alloc(3, 255),
    Buffer.alloc(70_000, 65),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    Buffer.from('SSH-1.5-old\r\n'),
    Buffer.from('SSH-2.0-x\r\n'),
    Buffer.from(`SSH-2.0-${'x'.repeat(300)}\r\n`),
    Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), Buffer.from('ffffffff00', 'hex'), Buffer.alloc(4096)]),
    Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), Buffer.from('0000000c0a5a000000', 'hex'), Buffer.alloc(64)]), // a channel before keys
    Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), Buffer.from('0000002c0614', 'hex'), Buffer.alloc(400, 255)]),
  ],
}

/** A request of a type that nobody knows, with a reply wanted. Rejects when it is refused. */
function unknownRequest(port: number, issued: Issued): Promise<string> {
  const client = new ssh2.Client()
  return new Promise<string>((resolve, reject) => {
    client.on('error', reject).on('close', () => reject(new Error('it was closed')))
    client.on('ready', () => {
      client.shell(false, (error, channel) => {
        if (error !== undefined) return reject(error)
        const { _protocol } = inner(client)
        const { outgoing, _callbacks } = channel as unknown as {
          outgoing: { id: number }
          _callbacks: ((failed: boolean) => void)[]
        }
        _callbacks.push(failed => (failed ? reject(new Error('refused')) : resolve('it went on')))
        send(_protocol, requestMessage(outgoing.id, 'frobnicate@example.com', true))
      })
    })
    client.connect({
      host: '127.0.0.1',
      port,
      username: issued.id,
      password: issued.secret.reveal(),
      hostVerifier: () => true,
    })
  }).finally(() => client.end())
}
