import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { type EmbeddedServer, startEmbedded } from '../../../src/db/embedded.ts'
import { CertificateAuthority } from '../../../src/gateway/certificates.ts'
import type {
  Door,
  Forwarding,
  Gate,
  Opened,
  Refusal,
  Resource,
  Target,
  Verdict,
} from '../../../src/gateway/protocol.ts'
import type { Permit } from '../../../src/policy/permit.ts'
import type { ActionFacts, MaskRule } from '../../../src/policy/points.ts'
import { postgres } from '../../../src/protocols/postgres/index.ts'
import { MessageStream } from '../../../src/protocols/postgres/message-stream.ts'
import { frame, int32 } from '../../../src/protocols/postgres/messages.ts'
import { mechanism, ScramClient } from '../../../src/protocols/postgres/scram.ts'
import { startupMessage } from '../../../src/protocols/postgres/startup.ts'
import { packEvent, unpackEvents } from '../../../src/recording/events.ts'
import { Secret } from '../../../src/secret.ts'

/** A real PostgreSQL behind the wire side, with a gate whose answers the test chooses. */
export interface WireWorld {
  readonly server: Pick<EmbeddedServer, 'port' | 'superuser' | 'url' | 'stop'>
  readonly port: number
  readonly ticket: { readonly id: string; readonly secret: Secret }
  readonly ca: string
  /** What was journalled, oldest first. */
  readonly journal: { kind: string; body: Record<string, unknown> }[]
  /** What went into the layer of originals. */
  readonly originals: { kind: string; body: Record<string, unknown> }[]
  readonly failures: string[]
  /** Denies an action when it answers with a message. */
  deny: (action: ActionFacts) => string | undefined
  rules: MaskRule[]
  settings: Gate['settings']
  onCommit: () => boolean | Promise<boolean>
  behind: Gate['behind']
  end(reason: string): void
  newRules(rules: MaskRule[]): Promise<string | undefined>
  admin(sql: string): Promise<pg.QueryResult>
  client(options?: pg.ClientConfig): Promise<pg.Client>
  raw(parameters?: Record<string, string>): Promise<RawClient>
  env(): Record<string, string>
  close(): Promise<void>
}

/** A client that says whatever the test wants, without TLS. */
export class RawClient {
  readonly socket: Socket
  readonly messages: MessageStream
  constructor(socket: Socket, messages: MessageStream) {
    this.socket = socket
    this.messages = messages
  }
  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames))
  }
  /** Letters of what came, up to and with the n-th ReadyForQuery. */
  async until(ready = 1): Promise<{ letters: string; bodies: Buffer[] }> {
    let letters = ''
    const bodies: Buffer[] = []
    for (let left = ready; left > 0; ) {
      const { type, raw } = await this.messages.next()
      letters += String.fromCharCode(type)
      bodies.push(Buffer.from(raw))
      if (type === 0x5a) left--
    }
    return { letters, bodies }
  }
}

/** @param target another server than the embedded one; it is stopped at the end. */
export async function startWireWorld(
  seed: string,
  target?: Pick<EmbeddedServer, 'port' | 'superuser' | 'url' | 'stop'>,
): Promise<WireWorld> {
  const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-wire-'))
  const server =
    target ?? (await startEmbedded({ name: 'the target', dataDir, port: 0, superuser: 'boss', durable: false }))
  const admin = async (sql: string) => {
    const client = new pg.Client({ connectionString: server.url('postgres').reveal() })
    await client.connect()
    try {
      return await client.query(sql)
    } finally {
      await client.end()
    }
  }
  await admin(seed)
  const authority = await CertificateAuthority.open({
    folder: join(dataDir, 'ca'),
    hosts: ['127.0.0.1', 'localhost'],
    deployment: 'test',
  })
  const ticket = { id: 'tkt_01test', secret: new Secret(randomBytes(16).toString('hex')) }
  const url = new URL(server.url('postgres').reveal())
  const resource: Resource = {
    name: 'shop',
    protocol: 'postgres',
    host: '127.0.0.1',
    port: server.port,
    labels: {},
    secret: 'boss',
    options: { database: 'postgres', sslmode: 'disable', lease: { kind: 'stored', user: server.superuser } },
  }
  const permit = {} as Permit
  const noKeys = () => {
    throw new Error('this protocol has no keys')
  }
  const dialled: Target = {
    resource,
    keys: noKeys,
    connect: () =>
      new Promise((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port: server.port, noDelay: true })
        socket.once('error', reject)
        socket.once('connect', () => resolve(socket))
      }),
    secret: () => new Secret(decodeURIComponent(url.password)),
  }
  const live = new Set<{ abort: AbortController; refit: Parameters<Gate['onRules']>[0] | undefined }>()
  const cancels = new Map<number, (payload: Uint8Array) => void>()
  let number = 1
  const caFile = join(dataDir, 'ca.pem')
  writeFileSync(caFile, authority.ca)

  const world: WireWorld = {
    server,
    port: 0,
    ticket,
    ca: caFile,
    journal: [],
    originals: [],
    failures: [],
    deny: () => undefined,
    rules: [],
    settings: { level: 'full', results: 'head', head_rows: 2, originals: 'drop' },
    onCommit: () => true,
    behind: () => undefined,
    end(reason) {
      const refusal: Refusal = {
        refused: true,
        code: 'session_ended',
        message: reason,
        remedy: 'ask again',
        decision_id: null,
      }
      for (const each of live) each.abort.abort(refusal)
    },
    async newRules(rules) {
      world.rules = rules
      for (const each of live) {
        const why = await each.refit?.(rules)
        if (why !== undefined) return why
      }
      return undefined
    },
    admin,
    async client(options = {}) {
      const client = new pg.Client({
        host: '127.0.0.1',
        port: world.port,
        user: ticket.id,
        password: ticket.secret.reveal(),
        database: 'postgres',
        ssl: { ca: authority.ca, rejectUnauthorized: true },
        ...options,
      })
      client.on('error', () => {})
      await client.connect()
      return client
    },
    raw: parameters => rawClient(world, parameters),
    env: () => ({
      PATH: process.env['PATH'] ?? '',
      PGHOST: '127.0.0.1',
      PGPORT: String(world.port),
      PGUSER: ticket.id,
      PGPASSWORD: ticket.secret.reveal(),
      PGDATABASE: 'postgres',
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: caFile,
      PSQLRC: '/dev/null',
    }),
    async close() {
      world.end('the test is over')
      listener.close()
      authority[Symbol.dispose]()
      await server.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }

  function open(): Opened {
    const abort = new AbortController()
    const one = { abort, refit: undefined as Parameters<Gate['onRules']>[0] | undefined }
    live.add(one)
    const waiting: Forwarding[] = []
    const commit = () => {
      const taken = waiting.splice(0)
      const committed = world.onCommit()
      if (committed === false) return false
      for (const each of taken) each.take()
      const forward = () => {
        for (const each of taken) each.forward()
        return true
      }
      return committed === true ? forward() : committed.then(yes => yes && forward())
    }
    const gate: Gate = {
      about: {} as Gate['about'],
      behind: () => world.behind(),
      judge(actions, record): Verdict {
        for (const action of actions) {
          const message = world.deny(action)
          world.journal.push({
            kind: 'statement',
            body: {
              effect: message === undefined ? 'allow' : 'deny',
              kind: action.kind,
              text: record.text,
              ...record.extra,
            },
          })
          if (message !== undefined)
            return {
              allowed: false,
              decision: null,
              message,
              detail: 'rule test.rule (x.rego:1@abc), decision dec_1',
              remedy: 'ask',
            }
        }
        return { allowed: true, decision: null, message: '', detail: '', remedy: '' }
      },
      refuse: reason => void world.journal.push({ kind: 'refused', body: { ...reason } }),
      record: (kind, body, packed) => {
        const [event] = unpackEvents(packEvent({ conn: 'con_1', kind, body, packed }, 1, 1))
        const { t: _t, conn: _conn, seq: _seq, kind: _kind, ...kept } = event!
        world.journal.push({ kind, body: kept })
      },
      recordOriginal: (kind, body) => void world.originals.push({ kind, body }),
      commit,
      whenRecorded: forwarding => {
        waiting.push(forwarding)
        setImmediate(commit)
      },
      rules: () => world.rules,
      maskKey: Buffer.alloc(32, 7),
      onRules: refit => (one.refit = refit),
      get settings() {
        return world.settings
      },
    }
    return {
      refused: false,
      connection_id: 'con_1',
      session_id: 'ses_1',
      subject: {} as Opened['subject'],
      resource,
      role: 'reader',
      permit,
      target: dialled,
      credential: { user: server.superuser, secret: dialled.secret(permit) },
      moderation: {
        required: false,
        state: () => 'watched',
        message: '',
        onChange: () => ({ [Symbol.dispose]: () => {} }),
      },
      gate,
      commands: null,
      ended: abort.signal,
      close: async reason => {
        live.delete(one)
        world.journal.push({ kind: 'closed', body: { reason } })
      },
    }
  }

  const door: Door = {
    protocol: 'postgres',
    address: '127.0.0.1',
    origin: 'http://127.0.0.1',
    keys: noKeys,
    limits: { login_ms: 5000, frame_bytes: 1024 * 1024 },
    plaintext: true,
    tls: () => authority.context(),
    ticket: async id =>
      id === ticket.id
        ? { id, resource: 'shop', role: 'reader', verifiers: postgres.verifiers(ticket.secret, {}, noKeys) }
        : undefined,
    pretence: id => Buffer.alloc(32, id.length),
    open: async () => open(),
    failed: (reason, facts) => void world.failures.push(`${reason}: ${facts['why'] ?? ''}`),
    relayOutOfBand: (n, payload) => cancels.get(n)?.(payload),
    onOutOfBand: (n, run) => {
      cancels.set(n, run)
      return { [Symbol.dispose]: () => void cancels.delete(n) }
    },
    nextConnectionNumber: () => number++,
  }
  const listener: Server = createServer({ noDelay: true }, socket => {
    socket.on('error', () => {})
    void postgres.accept(socket, door)
  })
  await new Promise<void>(resolve => listener.listen(0, '127.0.0.1', resolve))
  Object.assign(world, { port: (listener.address() as { port: number }).port })
  return world
}

async function rawClient(world: WireWorld, parameters: Record<string, string> = {}): Promise<RawClient> {
  const socket = connect({ host: '127.0.0.1', port: world.port, noDelay: true })
  socket.on('error', () => {})
  const messages = new MessageStream(socket)
  socket.write(startupMessage({ user: world.ticket.id, database: 'postgres', ...parameters }))
  const scram = new ScramClient(world.ticket.secret)
  const raw = new RawClient(socket, messages)
  for (;;) {
    const { type, body, raw: bytes } = await messages.next()
    const letter = String.fromCharCode(type)
    if (letter === 'E') throw new Error(bytes.toString('latin1'))
    if (letter === 'Z') return raw
    if (letter !== 'R') continue
    const method = body.int32()
    if (method === 10) {
      const first = scram.first()
      socket.write(frame(0x70, mechanism, 0, int32(first.length), first))
    } else if (method === 11) socket.write(frame(0x70, await scram.final(body.rest().toString('latin1'))))
    else if (method === 12 && !scram.accepts(body.rest().toString('latin1')))
      throw new Error('the gateway did not prove itself')
  }
}
