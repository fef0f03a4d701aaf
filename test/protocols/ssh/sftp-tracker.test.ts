import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { towardsClients } from '../../../src/protocols/ssh/algorithms.ts'
import type { Operation } from '../../../src/protocols/ssh/sftp/operations.ts'
import { decodePacket, encodePacket, type Packet } from '../../../src/protocols/ssh/sftp/packets.ts'
import { type FileEvent, type Request, SftpTracker } from '../../../src/protocols/ssh/sftp/tracker.ts'
import { FieldError, field } from '../../../src/protocols/ssh/wire/fields.ts'
import { keyFiles } from './kit.ts'
import { clientOptions, keyFolder, run } from './sshd.ts'

const b = (text: string) => Buffer.from(text)
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const ok = (id: number): Packet => ({ type: 'status', id, code: 0, words: null })

/** A tracker after INIT and VERSION, whose every request passes. */
function started(): {
  tracker: SftpTracker
  ask: (packet: Packet) => Request
  answer: (packet: Packet) => FileEvent[]
} {
  const tracker = new SftpTracker()
  const ask = (packet: Packet) => {
    const [request] = tracker.fromClient(encodePacket(packet))
    if (request!.refused === null) tracker.pass(request!)
    return request!
  }
  const answer = (packet: Packet) => tracker.fromTarget(encodePacket(packet)).files
  ask({ type: 'init', version: 3, extensions: [] })
  answer({ type: 'version', version: 3, extensions: [] })
  return { tracker, ask, answer }
}

function opened(path = '/srv/x', flags = 1) {
  const all = started()
  all.ask({ type: 'open', id: 1, path: b(path), flags, attributes: {} })
  all.answer({ type: 'handle', id: 1, handle: b('h') })
  return all
}

describe('what is judged', () => {
  const operation = (packet: Packet) => started().ask(packet).operation
  const open = (flags: number, path = '/srv/x'): Packet => ({
    type: 'open',
    id: 1,
    path: b(path),
    flags,
    attributes: {},
  })
  const extended = (name: string, ...parts: Buffer[]): Packet => ({
    type: 'extended',
    id: 1,
    name: b(name),
    data: Buffer.concat(parts),
  })

  test.each<[string, Packet, Partial<Operation>]>([
    [
      'a download',
      open(1),
      { operation: 'open', verb: 'read', direction: 'download', path: '/srv/x', flags: ['read'] },
    ],
    ['an upload', open(2 | 8 | 16), { verb: 'write', direction: 'upload', flags: ['write', 'create', 'truncate'] }],
    ['both', open(3), { verb: 'write', direction: 'both' }],
    ['an open that reads and creates', open(1 | 8), { verb: 'write', direction: 'both' }],
    ['an open for nothing', open(0), { verb: 'write', direction: 'upload' }],
    ['a listing', { type: 'opendir', id: 1, path: b('/srv/') }, { verb: 'read', path: '/srv', direction: null }],
    ['a removal', { type: 'remove', id: 1, path: b('/srv/x') }, { verb: 'write' }],
    [
      'a rename',
      { type: 'rename', id: 1, path: b('/a'), target: b('/b') },
      { verb: 'write', path: '/a', target_path: '/b' },
    ],
    [
      'a link',
      { type: 'symlink', id: 1, path: b('/srv/l'), target: b('../etc') },
      { verb: 'write', path: '/srv/l', target_path: '/etc' },
    ],
    [
      'a chmod',
      { type: 'setstat', id: 1, path: b('/x'), attributes: { permissions: 0o644 } },
      { verb: 'write', flags: ['permissions'] },
    ],
    [
      'a chmod to setuid',
      { type: 'setstat', id: 1, path: b('/x'), attributes: { permissions: 0o4755 } },
      { verb: 'admin' },
    ],
    [
      'a chown',
      { type: 'setstat', id: 1, path: b('/x'), attributes: { owner: { uid: 0, gid: 0 } } },
      { verb: 'admin', flags: ['owner'] },
    ],
    [
      'posix-rename',
      extended('posix-rename@openssh.com', field('/a'), field('/b')),
      { operation: 'posix-rename', verb: 'write', target_path: '/b' },
    ],
    ['hardlink', extended('hardlink@openssh.com', field('/a'), field('/b')), { operation: 'hardlink', verb: 'write' }],
    ['statvfs', extended('statvfs@openssh.com', field('/a')), { operation: 'statvfs', verb: 'read' }],
    [
      'lsetstat',
      extended('lsetstat@openssh.com', field('/a'), Buffer.from('0000000200000000 00000000'.replace(' ', ''), 'hex')),
      { operation: 'lsetstat', verb: 'admin' },
    ],
  ])('%s', (_what, packet, expected) => {
    expect(operation(packet)).toMatchObject(expected)
  })

  test.each([
    ['/srv/../etc/passwd', '/etc/passwd'],
    ['//etc//passwd', '/etc/passwd'],
    ['/srv/./x/', '/srv/x'],
    ['/../../etc', '/etc'],
    ['a/../b', 'b'],
    ['', '.'],
  ])('the path %j is judged and sent on as %j', (sent, judged) => {
    const tracker = new SftpTracker()
    tracker.pass(tracker.fromClient(encodePacket({ type: 'init', version: 3, extensions: [] }))[0]!)
    const [request] = tracker.fromClient(encodePacket(open(1, sent)))
    expect(request!.operation!.path).toBe(judged)
    expect(decodePacket(tracker.pass(request!))).toMatchObject({ path: b(judged) })
  })

  test('a relative path is absolute once the login’s home is known', () => {
    const { ask, answer } = started()
    ask({ type: 'realpath', id: 1, path: b('.') })
    answer({ type: 'name', id: 1, entries: [{ file: b('/home/ada'), line: b(''), attributes: {} }] })
    expect(ask({ type: 'remove', id: 2, path: b('../bob/x') }).operation!.path).toBe('/home/bob/x')
  })

  test.each<[string, Packet]>([
    ['a path that is not UTF-8', open(1, '')],
    ['a path above an unknown home', open(1, '../../etc/passwd')],
    ['a NUL in a path', open(1, '/srv/x\0y')],
    ['an extension that is not known', extended('frobnicate@example.com')],
    ['a handle that was never opened', { type: 'read', id: 1, handle: b('h'), offset: 0n, length: 1 }],
    [
      'a copy between handles that were never opened',
      extended('copy-data', field('a'), Buffer.alloc(16), field('b'), Buffer.alloc(8)),
    ],
  ])('%s is refused whatever policy says, and answered', (what, packet) => {
    if (what.includes('UTF-8')) (packet as { path: Buffer }).path = Buffer.from('/\xff', 'latin1')
    const { tracker } = started()
    const [request] = tracker.fromClient(encodePacket(packet))
    expect(request!.refused).not.toBeNull()
    expect(() => tracker.pass(request!)).toThrow(FieldError)
    expect(decodePacket([tracker.deny(request!, request!.refused!)])).toMatchObject({ type: 'status', id: 1, code: 3 })
  })

  test('extensions that are not known are not even offered', () => {
    const tracker = new SftpTracker()
    tracker.pass(tracker.fromClient(encodePacket({ type: 'init', version: 3, extensions: [] }))[0]!)
    const extensions = [
      { name: b('fsync@openssh.com'), data: b('1') },
      { name: b('frobnicate'), data: b('1') },
    ]
    const { bytes } = tracker.fromTarget(encodePacket({ type: 'version', version: 3, extensions }))
    expect(decodePacket([bytes[0]!])).toMatchObject({ extensions: [extensions[0]] })
  })
})

describe('what no peer sends ends the channel', () => {
  const read = (id: number, length = 5): Packet => ({ type: 'read', id, handle: b('h'), offset: 0n, length })
  test.each<[string, (all: ReturnType<typeof started>) => void]>([
    ['a second INIT', ({ ask }) => void ask({ type: 'init', version: 3, extensions: [] })],
    ['an id twice', ({ ask }) => void [ask(read(7)), ask(read(7))]],
    ['an answer to nothing', ({ answer }) => void answer(ok(99))],
    [
      'an answer of another kind',
      ({ ask, answer }) => void [ask(read(7)), answer({ type: 'handle', id: 7, handle: b('i') })],
    ],
    [
      'more data than was asked for',
      ({ ask, answer }) => void [ask(read(7)), answer({ type: 'data', id: 7, data: [b('123456')] })],
    ],
    ['a request from the target', ({ answer }) => void answer({ type: 'remove', id: 7, path: b('/x') })],
    [
      'a handle that is open already',
      ({ ask, answer }) =>
        void [ask({ type: 'opendir', id: 7, path: b('/') }), answer({ type: 'handle', id: 7, handle: b('h') })],
    ],
    ['a request that is passed twice', ({ tracker, ask }) => void tracker.pass(ask(read(7)))],
    ['a request that is denied after it passed', ({ tracker, ask }) => void tracker.deny(ask(read(7)), 'no')],
  ])('%s', (_what, act) => {
    const all = opened()
    expect(() => act(all)).toThrow(FieldError)
  })

  test('requests and open files without an end', () => {
    const { ask, answer } = started()
    expect(() => {
      for (let id = 0; id < 5000; id++) ask({ type: 'stat', id, path: b('/') })
    }).toThrow('too many requests')
    const other = started()
    expect(() => {
      for (let id = 0; id < 2000; id++) {
        other.ask({ type: 'opendir', id, path: b('/') })
        other.answer({ type: 'handle', id, handle: b(`h${id}`) })
      }
    }).toThrow('too many open files')
    expect(answer(ok(1))).toEqual([])
  })
})

describe('files that went over', () => {
  const data = randomBytes(3000)
  const write = (id: number, offset: number, bytes: Buffer): Packet => ({
    type: 'write',
    id,
    handle: b('h'),
    offset: BigInt(offset),
    data: [bytes],
  })
  const close: Packet = { type: 'close', id: 100, handle: b('h') }
  const parts = [0, 1000, 2000].map(at => ({ at, bytes: data.subarray(at, at + 1000) }))

  function upload(order: readonly number[]): FileEvent[] {
    const { ask, answer } = opened('/srv/x', 2 | 8)
    for (const [id, at] of order.entries()) {
      ask(write(id + 2, at, data.subarray(at, at + 1000)))
      answer(ok(id + 2))
    }
    ask(close)
    return answer(ok(100))
  }

  test('in order, in any order, and with answers of the target in any order, the hash is the file’s', () => {
    const whole = {
      path: '/srv/x',
      size: 3000,
      offset: 0,
      sha256: sha256(data),
      gaps: false,
      failed: false,
      complete: true,
    }
    expect(upload([0, 1000, 2000])).toEqual([{ ...whole, direction: 'upload' }])
    expect(upload([0, 2000, 1000])).toEqual([{ ...whole, direction: 'upload' }])
    const { ask, answer } = opened()
    for (const { at } of parts) ask({ type: 'read', id: at, handle: b('h'), offset: BigInt(at), length: 1000 })
    for (const { at, bytes } of [parts[0]!, parts[2]!, parts[1]!]) answer({ type: 'data', id: at, data: [bytes] })
    ask(close)
    expect(answer(ok(100))).toEqual([{ ...whole, direction: 'download' }])
  })

  test('with a gap, or a part twice, it says that the hash is of no file', () => {
    expect(upload([0, 2000])).toMatchObject([{ gaps: true, size: 2000 }])
    expect(upload([0, 1000, 0])).toMatchObject([{ gaps: true }])
  })

  test('one that was taken up again says from where', () => {
    expect(upload([1000, 2000])).toMatchObject([{ gaps: false, offset: 1000, sha256: sha256(data.subarray(1000)) }])
  })

  test('an empty file is one, and a listing is none', () => {
    expect(upload([])).toMatchObject([{ size: 0, sha256: sha256(Buffer.alloc(0)) }])
    const { ask, answer } = started()
    ask({ type: 'opendir', id: 1, path: b('/srv') })
    answer({ type: 'handle', id: 1, handle: b('h') })
    ask(close)
    expect(answer(ok(100))).toEqual([])
  })

  test('a write that the target refuses, a close that fails and a channel that ends are told', () => {
    const { ask, answer, tracker } = opened('/srv/x', 2)
    ask(write(2, 0, data))
    answer({ type: 'status', id: 2, code: 4, words: null })
    expect(tracker.end()).toMatchObject([{ failed: true, complete: false, size: 3000 }])
    const other = opened('/srv/x', 2)
    other.ask(close)
    expect(other.answer({ type: 'status', id: 100, code: 4, words: null })).toMatchObject([
      { failed: true, complete: true },
    ])
  })
})

describe('with the real sftp, scp and sftp-server', () => {
  const folder = keyFolder()
  const seen = { operations: [] as Operation[], files: [] as FileEvent[] }
  let server: ssh2.Server
  let port: number
  let deny: (operation: Operation) => boolean = () => false

  beforeAll(async () => {
    const host = keyFiles().private
    server = new ssh2.Server({ hostKeys: [host], algorithms: towardsClients }, connection => {
      connection.on('error', () => {})
      connection.on('authentication', context => context.accept())
      connection.on('session', accept => {
        accept().on('subsystem', take => {
          const channel = take()
          const tracker = new SftpTracker()
          const child = spawn('/usr/lib/openssh/sftp-server', [], {
            stdio: ['pipe', 'pipe', 'ignore'],
            cwd: folder.path,
          })
          // Three bytes, then the rest: every packet of every client is cut somewhere.
          const pieces = (data: Buffer) => [data.subarray(0, 3), data.subarray(3)]
          channel.on('data', (data: Buffer) => {
            for (const request of pieces(data).flatMap(piece => tracker.fromClient(piece))) {
              if (request.operation !== null) seen.operations.push(request.operation)
              const why =
                request.refused ?? (request.operation !== null && deny(request.operation) ? 'policy says no' : null)
              if (why === null) for (const each of tracker.pass(request)) child.stdin.write(each)
              else channel.write(tracker.deny(request, why))
            }
          })
          child.stdout.on('data', (data: Buffer) => {
            for (const piece of pieces(data)) {
              const { bytes, files } = tracker.fromTarget(piece)
              seen.files.push(...files)
              for (const each of bytes) channel.write(each)
            }
          })
          channel.on('end', () => child.stdin.end())
          child.on('close', () => {
            seen.files.push(...tracker.end())
            channel.exit(0)
            channel.end()
          })
        })
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    mkdirSync(join(folder.path, 'far'))
  })
  afterAll(() => {
    server.close()
    folder.gone()
  })

  const path = (...names: string[]) => join(folder.path, ...names)
  const sftp = (script: string) => {
    seen.operations = []
    seen.files = []
    return run('sftp', [...clientOptions(port), '-q', '-b', '-', '127.0.0.1'], script)
  }

  test('put, get and resume bring the bytes over, and tell their hashes', async () => {
    const content = randomBytes(5_000_000)
    writeFileSync(path('near'), content)
    const there = path('far', 'file')
    const put = await sftp(`put ${path('near')} ${there}\nget ${there} ${path('back')}\n`)
    expect(put).toMatchObject({ code: 0 })
    expect(readFileSync(path('back')).equals(content)).toBe(true)
    const whole = {
      path: there,
      size: content.length,
      offset: 0,
      sha256: sha256(content),
      gaps: false,
      failed: false,
      complete: true,
    }
    expect(seen.files).toEqual([
      { ...whole, direction: 'upload' },
      { ...whole, direction: 'download' },
    ])
    expect(
      seen.operations.find(({ operation, direction }) => operation === 'open' && direction === 'upload'),
    ).toMatchObject({ path: there, verb: 'write' })
    writeFileSync(path('back'), content.subarray(0, 2_000_000))
    expect(await sftp(`reget ${there} ${path('back')}\n`)).toMatchObject({ code: 0 })
    expect(seen.files).toMatchObject([
      { direction: 'download', offset: 2_000_000, sha256: sha256(content.subarray(2_000_000)) },
    ])
  })

  test('a denied open is denied, and the channel goes on in step', async () => {
    deny = ({ operation, direction }) => operation === 'open' && direction === 'upload'
    const said = await sftp(
      `-put ${path('near')} ${path('far', 'denied')}\nls ${path('far')}\nget ${path('far', 'file')} ${path('again')}\n`,
    )
    deny = () => false
    expect(said.err).toContain('Permission denied')
    expect(said.code).toBe(0)
    expect(said.out).toContain('far/file')
    expect(said.out.replace(/^sftp> .*$/gm, '')).not.toContain('far/denied')
    expect(seen.files).toMatchObject([{ direction: 'download' }])
  })

  test('mkdir, rename, chmod, symlink, rm, df and a listing are each judged by path', async () => {
    const there = path('far')
    const script = `mkdir ${there}/d\nrename ${there}/file ${there}/d/f\nchmod 600 ${there}/d/f\nsymlink f ${there}/d/l\nls -l ${there}/d\nrm ${there}/d/l\ndf ${there}\n`
    expect(await sftp(script)).toMatchObject({ code: 0 })
    const short = seen.operations.map(({ operation, path: at }) => `${operation} ${at.replace(folder.path, '')}`)
    for (const each of [
      'mkdir /far/d',
      'posix-rename /far/file',
      'setstat /far/d/f',
      'symlink /far/d/l',
      'opendir /far/d',
      'remove /far/d/l',
      'statvfs /far',
    ])
      expect(short).toContain(each)
  })

  test('scp of today is SFTP, both ways', async () => {
    seen.files = []
    const options = clientOptions(port)
    expect(await run('scp', [...options, path('near'), `127.0.0.1:${path('far', 'scp')}`])).toMatchObject({ code: 0 })
    expect(await run('scp', [...options, `127.0.0.1:${path('far', 'scp')}`, path('home')])).toMatchObject({ code: 0 })
    expect(seen.files.map(({ direction, sha256: hash }) => [direction, hash])).toEqual([
      ['upload', sha256(readFileSync(path('near')))],
      ['download', sha256(readFileSync(path('near')))],
    ])
  })
})
