import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { towardsClients } from '../../../src/protocols/ssh/algorithms.ts'
import { parseCommand } from '../../../src/protocols/ssh/command.ts'
import { parseScp, type ScpFile, ScpTracker } from '../../../src/protocols/ssh/scp.ts'
import { FieldError } from '../../../src/protocols/ssh/wire/fields.ts'
import { keyFiles } from './kit.ts'
import { clientOptions, keyFolder, run } from './sshd.ts'

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const upload = { direction: 'upload', path: '/srv', recursive: true, folder: true } as const

describe('the server side of scp', () => {
  test.each([
    ['scp -t /srv/x', { direction: 'upload', path: '/srv/x', recursive: false, folder: false }],
    ['scp -v -r -p -d -t -- -x', { direction: 'upload', path: '-x', recursive: true, folder: true }],
    ['scp -qrpf /srv', { direction: 'download', path: '/srv', recursive: true, folder: false }],
    ['scp -t', null],
    ['scp -t -f /srv', null],
    ['scp -t /srv /etc', null],
    ['scp -S /tmp/x -t /srv', null],
    ['scp -o ProxyCommand=id -t /srv', null],
    ['scp /srv host:/x', null],
    ['/tmp/scp -t /srv', null],
    ['scp -t ""', null],
  ])('%s', (line, expected) => {
    expect(parseScp(parseCommand(line).argv!)).toEqual(expected)
  })
})

describe('what passes', () => {
  test('a file is told when both sides have agreed that it is over', () => {
    const tracker = new ScpTracker(upload)
    tracker.fromReceiver(Buffer.of(0))
    expect(tracker.fromSender(Buffer.from('T1 0 1 0\n'))).toEqual([])
    tracker.fromReceiver(Buffer.of(0))
    tracker.fromSender(Buffer.from('C0644 5 a.txt\n'))
    tracker.fromReceiver(Buffer.of(0))
    expect(tracker.fromSender(Buffer.from('hello\0'))).toEqual([])
    expect(tracker.fromReceiver(Buffer.of(0))).toEqual([
      {
        path: '/srv/a.txt',
        name: 'a.txt',
        direction: 'upload',
        size: 5,
        sha256: sha256('hello'),
        failed: false,
        complete: true,
      },
    ])
  })

  test('a file that the receiver refuses sends no bytes, and the next one is read right', () => {
    const tracker = new ScpTracker(upload)
    tracker.fromSender(Buffer.from('C0644 5 a.txt\n'))
    tracker.fromReceiver(Buffer.from('\x01scp: /srv/a.txt: Permission denied\n'))
    tracker.fromSender(Buffer.from('C0644 0 b.txt\n'))
    tracker.fromReceiver(Buffer.of(0))
    tracker.fromSender(Buffer.of(0))
    expect(tracker.fromReceiver(Buffer.of(0))).toMatchObject([{ path: '/srv/b.txt', size: 0 }])
  })

  test('a channel that ends in the middle of a file says so', () => {
    const tracker = new ScpTracker(upload)
    tracker.fromSender(Buffer.from('C0644 5 a.txt\n'))
    tracker.fromReceiver(Buffer.of(0))
    tracker.fromSender(Buffer.from('hel'))
    expect(tracker.end()).toMatchObject([{ size: 3, complete: false }])
  })

  test.each([
    'C0644 5 ../x\n',
    'C0644 5 ..\n',
    'D0755 0 .\n',
    'C0644 5 a/b\n',
    'C0644 -1 a\n',
    'C0644 05 a\n',
    'C9644 5 a\n',
    'C0644 5 \n',
    'C0644 5 a\x1b[2J\n',
    'E\n',
    'X\n',
    'T1 0\n',
    'C0644 5 \xff\n',
    'a'.repeat(5000),
  ])('%.20j ends the channel', line => {
    expect(() => new ScpTracker(upload).fromSender(Buffer.from(line, 'latin1'))).toThrow(FieldError)
  })

  test('a folder that was not asked for, a sender that does not wait and a strange answer end it too', () => {
    expect(() => new ScpTracker({ ...upload, recursive: false }).fromSender(Buffer.from('D0755 0 d\n'))).toThrow(
      FieldError,
    )
    expect(() => new ScpTracker(upload).fromSender(Buffer.from('C0644 5 a\nhello'))).toThrow(FieldError)
    expect(() => new ScpTracker(upload).fromReceiver(Buffer.from('no'))).toThrow(FieldError)
  })

  test('hostile bytes either pass or are a FieldError', () => {
    const line = fc
      .constantFrom('C0644 3 a\n', 'D0755 0 d\n', 'E\n', 'abc', '\0', '\x01no\n')
      .map(text => Buffer.from(text))
    const bytes = fc.oneof(
      line,
      fc.uint8Array({ maxLength: 20 }).map(each => Buffer.from(each)),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), bytes), { maxLength: 12 }), steps => {
        const tracker = new ScpTracker(upload)
        try {
          for (const [sender, each] of steps) sender ? tracker.fromSender(each) : tracker.fromReceiver(each)
        } catch (error) {
          expect(error).toBeInstanceOf(FieldError)
        }
        tracker.end()
      }),
      { numRuns: 2000 },
    )
  })
})

describe('with the real scp -O on both sides', () => {
  const folder = keyFolder()
  let server: ssh2.Server
  let port: number
  let files: ScpFile[] = []

  beforeAll(async () => {
    const host = keyFiles().private
    server = new ssh2.Server({ hostKeys: [host], algorithms: towardsClients }, connection => {
      connection.on('error', () => {})
      connection.on('authentication', context => context.accept())
      connection.on('session', accept => {
        accept().on('exec', (take, _reject, { command }) => {
          const channel = take()
          const argv = parseCommand(command).argv!
          const scp = parseScp(argv)!
          const tracker = new ScpTracker(scp)
          const [client, target] =
            scp.direction === 'upload'
              ? (['fromSender', 'fromReceiver'] as const)
              : (['fromReceiver', 'fromSender'] as const)
          const child = spawn(argv[0]!, argv.slice(1), { stdio: ['pipe', 'pipe', 'ignore'] })
          channel.on('data', (data: Buffer) => {
            files.push(...tracker[client](data))
            child.stdin.write(data)
          })
          child.stdout.on('data', (data: Buffer) => {
            files.push(...tracker[target](data))
            channel.write(data)
          })
          channel.on('end', () => child.stdin.end())
          child.on('close', code => {
            files.push(...tracker.end())
            channel.exit(code ?? 1)
            channel.end()
          })
        })
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    for (const name of ['far', 'back', 'near', 'near/sub']) mkdirSync(join(folder.path, name))
    writeFileSync(join(folder.path, 'near/one'), randomBytes(300_000))
    writeFileSync(join(folder.path, 'near/sub/two'), 'two')
    writeFileSync(join(folder.path, 'near/sub/empty'), '')
  })
  afterAll(() => {
    server.close()
    folder.gone()
  })

  test('a tree goes there and back, and each file is told with its path and hash', async () => {
    const at = (name: string) => join(folder.path, name)
    const expected = ['one', 'sub/two', 'sub/empty']
      .map(name => [name, sha256(readFileSync(at(`near/${name}`)))])
      .sort()
    files = []
    const scp = ['-O', '-q', '-r', '-p', ...clientOptions(port)]
    expect(await run('scp', [...scp, at('near'), `127.0.0.1:${at('far')}`])).toMatchObject({ code: 0, err: '' })
    const told = () => files.map(({ path, sha256: hash }) => [path.replace(/^.*\/near\//, ''), hash]).sort()
    expect(told()).toEqual(expected)
    expect(
      files.every(
        ({ direction, failed, complete, path }) =>
          direction === 'upload' && !failed && complete && path.startsWith(at('far/near/')),
      ),
    ).toBe(true)
    files = []
    expect(await run('scp', [...scp, `127.0.0.1:${at('far/near')}`, at('back')])).toMatchObject({ code: 0, err: '' })
    expect(told()).toEqual(expected)
    expect(files.every(({ direction, path }) => direction === 'download' && path.startsWith(at('far/near/')))).toBe(
      true,
    )
  })

  test('a file that is not there ends as it does without anybody between', async () => {
    files = []
    const said = await run('scp', [
      '-O',
      ...clientOptions(port),
      `127.0.0.1:${join(folder.path, 'nothing')}`,
      join(folder.path, 'x'),
    ])
    expect(said.code).toBe(1)
    expect(said.err).toContain('No such file or directory')
    expect(files).toEqual([])
  })
})
