import { expect, test } from 'vitest'
import type { CommandChannel } from '../../../src/gateway/protocol.ts'
import { ArchiveReader } from '../../../src/protocols/git/archive.ts'
import { FetchReader } from '../../../src/protocols/git/fetch.ts'
import { dataLine, delimLine, flushLine } from '../../../src/protocols/git/pack/pkt-line.ts'
import { PassReader } from '../../../src/protocols/git/pass.ts'

const id = '1'.repeat(40)
const clear = '\x1b[2J\x07'
const shown = '^[[2J^G'
const band = (n: number, text: string) => dataLine(Buffer.concat([Buffer.of(n), Buffer.from(text)]))
const line = (text: string) => dataLine(`${text}\n`)
const all = (...pieces: Buffer[]) => Buffer.concat(pieces)

/** A command of git whose server and client say what the test says. Everything is allowed. */
function world() {
  const told = { out: '', err: '' }
  const recorded: string[] = []
  const refused: string[] = []
  const gate = {
    judge: () => ({ allowed: true }),
    record: (kind: string, { data }: { data: Buffer }) => kind === 'output' && recorded.push(data.toString()),
    refuse: ({ message }: { message: string }) => refused.push(message),
  }
  const channel = {
    id: 1,
    opened: { resource: { name: 'forge', options: {} }, gate },
    toClient: (bytes: Buffer, stream: 'out' | 'err' = 'out') => void (told[stream] += bytes.toString()),
    toTarget: () => undefined,
    endTarget: () => {},
    finish: () => {},
  } as unknown as CommandChannel
  const repository = {
    resource: channel.opened.resource,
    name: 'app',
    path: 'app.git',
    administration: false,
    symrefs: null,
  }
  return { told, recorded, refused, channel, repository }
}

test('CVE-2024-52005: of a fetch in version 2 the person’s terminal gets words, and the recording all of it', () => {
  const { told, recorded, channel, repository } = world()
  const reader = new FetchReader(channel, repository)
  reader.fromTarget(all(line('version 2'), line('ls-refs'), line('fetch=shallow'), flushLine), 'out')
  reader.fromClient(all(line('command=ls-refs'), delimLine, line('peel'), flushLine))
  reader.fromTarget(all(line(`${id} refs/heads/main`), flushLine), 'out')
  reader.fromClient(all(line('command=fetch'), delimLine, line(`want ${id}`), line('done'), flushLine))
  told.out = ''
  reader.fromTarget(
    all(line('packfile'), band(1, `PACK${clear}`), band(2, `x${clear}`), band(3, clear), flushLine),
    'out',
  )
  expect(told.out).toBe(
    all(line('packfile'), band(1, `PACK${clear}`), band(2, `x${shown}`), band(3, shown), flushLine).toString(),
  )
  reader.fromClient(all(line('command=ls-refs'), delimLine, flushLine))
  told.out = ''
  reader.fromTarget(line(`ERR gone ${clear}`), 'out')
  expect(told.out).toBe(line(`ERR gone ${shown}`).toString())
  reader.fromTarget(Buffer.from(`err ${clear}\x1b`), 'err')
  reader.ended('target')
  expect(told.err).toBe(`err ${shown}^[`)
  expect(recorded).toEqual([`x${clear}`, clear, `gone ${clear}\n`, `err ${clear}\x1b`])
})

test('of a fetch in version 0 as well, as its client asked for the pack: in bands or by itself', () => {
  for (const [words, answer, expected] of [
    ['side-band-64k', [band(2, clear), band(1, clear), flushLine], [band(2, shown), band(1, clear), flushLine]],
    ['ofs-delta', [Buffer.from(`PACK${clear}`)], [Buffer.from(`PACK${clear}`)]],
    ['ofs-delta', [line(`ERR ${clear}`)], [line(`ERR ${shown}`)]],
  ] as const) {
    const { told, refused, channel, repository } = world()
    const reader = new FetchReader(channel, repository)
    reader.fromTarget(all(dataLine(`${id} refs/heads/main\0${words}\n`), flushLine), 'out')
    reader.fromClient(all(line(`want ${id} ${words}`), flushLine, line('done')))
    told.out = ''
    reader.fromTarget(all(line('NAK'), ...answer), 'out')
    expect(told.out).toBe(all(line('NAK'), ...expected).toString())
    expect(refused).toEqual([])
  }
})

test('what breaks the lines of a pack is told in its bands, where the client reads it', () => {
  const { told, refused, channel, repository } = world()
  const reader = new FetchReader(channel, repository)
  reader.fromTarget(all(dataLine(`${id} refs/heads/main\0side-band-64k\n`), flushLine), 'out')
  reader.fromClient(all(line(`want ${id} side-band-64k`), flushLine, line('done')))
  told.out = ''
  reader.fromTarget(all(band(1, 'PACK'), Buffer.from(`PACK${clear}`)), 'out')
  const message = 'forge sent a line whose length is no number'
  expect(told.out).toBe(all(band(1, 'PACK'), band(3, `sallyport: ${message}`)).toString())
  expect(refused).toEqual([message])
})

test('of an archive too, and of what git-lfs-authenticate says', () => {
  const { told, recorded, channel, repository } = world()
  const reader = new ArchiveReader(channel, repository)
  reader.fromClient(all(line('argument main'), flushLine))
  reader.fromTarget(all(line('ACK'), flushLine, band(2, clear), band(1, clear), flushLine), 'out')
  expect(told.out).toBe(all(line('ACK'), flushLine, band(2, shown), band(1, clear), flushLine).toString())
  told.out = ''
  new ArchiveReader(channel, repository).fromTarget(line(`NACK ${clear}`), 'out')
  expect(told.out).toBe(line(`NACK ${shown}`).toString())
  new PassReader(channel).fromTarget(Buffer.from(clear), 'err')
  expect(told.err).toBe(shown)
  expect(recorded).toEqual([clear, clear])
})
