import { expect, test } from 'vitest'
import type { CommandChannel } from '../../../src/gateway/protocol.ts'
import { dataLine, flushLine, PktReader } from '../../../src/protocols/git/pack/pkt-line.ts'
import { PushReader } from '../../../src/protocols/git/receive.ts'

const [zero, one, two] = ['0', '1', '2'].map(digit => digit.repeat(40)) as [string, string, string]
const capabilities = 'report-status side-band-64k'

/** A push whose server says these lines. What each side got stands in `client` and `target`. */
function pushTo(...lines: string[]) {
  const [client, target]: [Buffer[], Buffer[]] = [[], []]
  const refused: string[] = []
  let status: number | undefined
  const channel = {
    id: 1,
    opened: {
      session_id: 'ses_1',
      subject: { name: 'ada' },
      resource: { name: 'forge', options: { repositories: { app: { path: 'app.git' } } } },
      gate: { record: () => {}, refuse: ({ rule }: { rule: string }) => refused.push(rule) },
    },
    toClient: (bytes: Buffer) => void client.push(bytes),
    toTarget: (bytes: Buffer) => void target.push(bytes),
    endTarget: () => {},
    finish: (code: number) => (status = code),
    run: () => Promise.reject(new Error('no second channel')),
  } as unknown as CommandChannel
  const repository = {
    resource: channel.opened.resource,
    name: 'app',
    path: 'app.git',
    administration: false,
    symrefs: null,
  }
  const reader = new PushReader(channel, repository, { quarantine: () => Promise.reject(new Error('not reached')) })
  const first = lines.map((line, i) => dataLine(i === 0 ? `${line}\0${capabilities}\n` : `${line}\n`))
  reader.fromTarget(Buffer.concat([...first, flushLine]), 'out')
  client.length = 0
  return {
    reader,
    target,
    refused,
    status: () => status,
    /** What the client reads, by band. */
    banded() {
      const bands = ['', '', '', '']
      new PktReader().read(Buffer.concat(client), pkt => {
        if (pkt.kind === 'data') bands[pkt.payload[0]!] += pkt.payload.subarray(1).toString()
        return undefined
      })
      return bands
    },
  }
}

test('what is wrong among the commands is told where the client reads it: it has said that it takes bands', () => {
  const push = pushTo(`${one} refs/heads/main`)
  const commands = [
    dataLine(`${one} ${two} refs/heads/main\0 ${capabilities}`),
    dataLine(`${one} ${two} refs/heads/a..b`),
  ]
  push.reader.fromClient(Buffer.concat([...commands, flushLine]))
  const [, , said, last] = push.banded()
  expect(said).toContain('sallyport: the client sent a name that no ref can have')
  expect(last).toContain('refused')
  expect(push.refused).toEqual(['git.wire'])
  expect(push.status()).toBe(126)
  expect(push.target).toEqual([])
})

test('a push to a shallow repository is refused in words, and the server gets nothing of it', async () => {
  const push = pushTo(`${one} refs/heads/main`, `shallow ${one}`)
  push.reader.fromClient(Buffer.concat([dataLine(`${zero} ${two} refs/heads/topic\0 ${capabilities}`), flushLine]))
  await expect.poll(push.status).toBe(126)
  const [, report, said] = push.banded()
  expect(report).toContain('ng refs/heads/topic the repository on the server is shallow')
  expect(said).toContain('git fetch --unshallow')
  expect(push.target).toEqual([])
})

test.each(['atomic', 'push-options'])('%s is refused in words where the server does not offer it', word => {
  const push = pushTo(`${one} refs/heads/main`)
  const options = word === 'push-options' ? [dataLine('ci.skip'), flushLine] : []
  const command = dataLine(`${one} ${two} refs/heads/main\0 ${capabilities} ${word}`)
  push.reader.fromClient(Buffer.concat([command, flushLine, ...options]))
  const [, report, said] = push.banded()
  expect(report).toContain(`ng refs/heads/main forge does not offer ${word}`)
  expect(said).toContain('→ push without it')
  expect(push.status()).toBe(126)
  expect(push.target).toEqual([])
})
