import { createRequire } from 'node:module'
import net from 'node:net'
import { dirname, join } from 'node:path'
import type postgres from 'postgres'

/**
 * postgres.js 3.4 with its connections mended. Left alone, a connection that closes under a transaction is written to once
 * more (the rollback), which throws where nobody can catch it; so does one that closes while it asks for the array types;
 * bytes that waited to be written when it closed spoil its next start-up message; a statement that is late runs on whatever
 * connection took its place, outside its transaction.
 *
 * INVARIANT: no query reaches a driver connection unless its socket lives and is the one its scope began on. The driver's
 * module is wrapped for that (its CommonJS build, whose modules can be), not copied: `execute` below is the only door.
 */
export function openDriver(url: string, options: Record<string, unknown>): postgres.Sql {
  const sql = load()(url, { ...options, fetch_types: false } as unknown as postgres.Options<
    Record<string, never>
  >) as postgres.Sql
  const begin = sql.begin.bind(sql) as (options: string, run: (tx: object) => unknown) => Promise<unknown>
  return Object.assign(sql, {
    begin: (...args: [(tx: object) => unknown] | [string, (tx: object) => unknown]) => {
      const [modes, run] = args.length === 1 ? ['', args[0]] : args
      return begin(modes, tx => {
        bind(tx)
        return run(tx)
      })
    },
    // A reserved connection that dies takes its place of the pool along, or another's connection when it is given back.
    reserve: () =>
      Promise.reject(
        new TypeError('connections of the pool cannot be reserved: use a transaction, or one of your own'),
      ),
  })
}

/** What the driver hands to a connection; only what is looked at here. */
interface Query {
  readonly handler: object
  reject(error: Error): void
}
interface Connection {
  execute(query: Query): unknown
}
type Connect = (options: Record<string, unknown>, ...pool: unknown[]) => Connection

/** Not a query: asks the connection of a scope (a transaction) which line it is on. */
class Claim {
  line: Line | undefined
  catch(): void {}
}

/** Transactions by the function through which the driver hands their queries to their connection. */
const scopes = new WeakMap<object, Line>()

function bind(scope: object): void {
  // A query that is never awaited is never sent; it only tells the scope's handler.
  const { handler } = (scope as postgres.Sql).unsafe('') as unknown as { handler(query: Claim): void }
  const claim = new Claim()
  handler(claim)
  scopes.set(handler, claim.line ?? lost)
}

/**
 * A socket that tells the driver of its end one turn of the event loop later, after the bytes that the driver still had for
 * it were swallowed. In between `lives` is false already, so nothing new is handed to it.
 */
class Line extends net.Socket {
  #told = false

  get lives(): boolean {
    return !this.destroyed && !this.readableEnded && !this.writableEnded
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event !== 'close' || this.#told) return super.emit(event as 'close', ...(args as [boolean]))
    this.#told = true
    setImmediate(() => super.emit('close', ...(args as [boolean])))
    return true
  }
}
const lost = new Line().destroy()

/** PostgreSQL's own types by the number of their arrays, which are the same everywhere. Nothing of ours is another array. */
const arrayTypes: Readonly<Record<number, number>> = {
  16: 1000, // boolean
  17: 1001, // bytea
  18: 1002, // char
  19: 1003, // name
  20: 1016, // bigint
  21: 1005, // smallint
  23: 1007, // integer
  25: 1009, // text
  26: 1028, // oid
  114: 199, // json
  700: 1021, // real
  701: 1022, // double precision
  1042: 1014, // bpchar
  1043: 1015, // varchar
  1082: 1182, // date
  1114: 1115, // timestamp
  1184: 1185, // timestamptz
  1700: 1231, // numeric
  2950: 2951, // uuid
  3802: 3807, // jsonb
}

interface Types {
  arrayParser(text: string, parse: unknown, array: number): unknown
  arraySerializer(values: unknown, serialize: unknown, options: object, array: number): string
}

/** What the driver would ask each new connection for, in a query whose failure nobody can catch. */
function addArrayTypes(options: Record<string, unknown>, { arrayParser, arraySerializer }: Types): void {
  const { parsers, serializers, shared } = options as {
    parsers: Record<number, unknown>
    serializers: Record<number, unknown>
    shared: { typeArrayMap: Record<number, number> }
  }
  for (const [key, array] of Object.entries(arrayTypes)) {
    const type = Number(key)
    shared.typeArrayMap[type] = array
    parsers[array] ??= Object.assign((text: string) => arrayParser(text, parsers[type], array), { array: true })
    serializers[array] ??= (values: unknown) => arraySerializer(values, serializers[type], options, array)
  }
}

function mended(connect: Connect, types: Types): Connect {
  return (options, ...pool) => {
    let line: Line | undefined
    addArrayTypes(options, types)
    const { host, port } = options as { host: string[]; port: number[] }
    // INVARIANT: the driver gets the socket before it is connected. It learns of a failure from the socket's events alone; a
    // rejected promise would cost the pool one of its places for ever. TCP_NODELAY: without it a COPY stalls 40 ms on a delayed ACK.
    const socket = () => {
      line = new Line()
      return line.connect({ host: host[0]!, port: port[0]!, noDelay: true } as net.TcpNetConnectOpts)
    }
    const connection = connect({ ...options, socket }, ...pool)
    const { execute } = connection
    connection.execute = query => {
      if (query instanceof Claim) {
        query.line = line
        return true
      }
      const scope = scopes.get(query.handler)
      if (line?.lives && (scope === undefined || scope === line)) return execute(query)
      query.reject(closed(host[0]!, port[0]!))
      return true // "ready for more": the pool must not put a lost connection among the full ones
    }
    return connection
  }
}

function closed(host: string, port: number): Error {
  return Object.assign(new Error(`write CONNECTION_CLOSED ${host}:${port}`), {
    code: 'CONNECTION_CLOSED',
    errno: 'CONNECTION_CLOSED',
    address: host,
    port,
  })
}

let loaded: typeof postgres | undefined

function load(): typeof postgres {
  if (loaded !== undefined) return loaded
  const require = createRequire(import.meta.url)
  const entry = require.resolve('postgres')
  const inner = join(dirname(entry), 'connection.js')
  const types = require(join(dirname(entry), 'types.js')) as Types
  for (const path of [entry, inner]) delete require.cache[path] // whoever loaded it before keeps an unmended one
  const connect = require(inner) as Connect
  if (typeof connect !== 'function') throw new Error(`postgres.js changed its shape: ${inner} exports no connection`)
  require.cache[inner]!.exports = mended(connect, types)
  loaded = require(entry) as typeof postgres
  return loaded
}
