/** What every driver is asked to do; its program may lack one that the driver does not have. */
export const behaviours = {
  connect: 'connect with verify-full',
  simple: 'simple query',
  parameters: 'parameters, in the formats of the driver',
  types: 'common types, in the formats of the driver',
  prepared: 'prepared statement, 20 times',
  transaction: 'commit, rollback, savepoint',
  error_then_continue: 'error, then continue',
  error_in_transaction: 'error in a transaction',
  pipeline: 'pipeline or batch, with an error in it',
  copy: 'COPY in and out',
  cursor: 'cursor, fetch size',
  cancel: 'cancel of a running query',
  notify: 'LISTEN and NOTIFY',
  large_result: '200 000 rows',
  large_parameter: 'parameter of 1 MiB',
  empty: 'empty query',
  multi: 'several statements in one text',
  notices: 'notices',
  parameter_status: 'parameter status',
  pool: 'pool of 10 on one ticket',
  unicode: 'Unicode, in names too',
} as const

export type Behaviour = keyof typeof behaviours

/** Under the starter policies, as `reader`. What the target says stands beside for the values. */
export const underStarterPolicies = {
  simple: 'simple query',
  types: 'common types, in the formats of the driver',
  prepared: 'prepared statement, 20 times',
  error_then_continue: 'error, then continue',
  cursor: 'cursor, fetch size',
  empty: 'empty query',
  denied: 'a denied statement, then the next one',
  masked: 'masked columns, every format',
} as const

/** What one run of one behaviour gave. */
export interface Line {
  readonly behaviour: string
  readonly value?: unknown
  readonly error?: { readonly code: string | null; readonly message: string }
  readonly unsupported?: boolean
}

export type Verdict = 'pass' | 'refused' | 'fail' | 'not offered' | 'not installed'

export interface Cell {
  readonly verdict: Verdict
  /** What differs from the direct connection, or why it failed. */
  readonly note?: string
}

/** Through the gateway and directly, the same program must have seen the same. */
export function compare(direct: Line | undefined, through: Line | undefined): Cell {
  if (direct?.unsupported || through?.unsupported) return { verdict: 'not offered' }
  if (through === undefined) return { verdict: 'fail', note: 'the client ended before it got there' }
  if (direct === undefined) return { verdict: 'fail', note: 'the client ended before it got there, directly' }
  if (direct.error !== undefined)
    return { verdict: 'fail', note: `the client fails directly too: ${direct.error.message}` }
  if (through.error !== undefined) {
    const { code, message } = through.error
    return {
      verdict: code === '42501' || code === '0A000' ? 'refused' : 'fail',
      note: `${code ?? ''} ${message}`.trim(),
    }
  }
  const [wanted, got] = [JSON.stringify(direct.value), JSON.stringify(through.value)]
  if (wanted === got) return { verdict: 'pass' }
  return { verdict: 'fail', note: difference(wanted, got) }
}

/** The first place where two texts part. */
function difference(wanted: string | undefined, got: string | undefined): string {
  const [a, b] = [wanted ?? 'nothing', got ?? 'nothing']
  let at = 0
  while (at < a.length && a[at] === b[at]) at++
  const from = Math.max(0, at - 40)
  return `directly …${a.slice(from, at + 80)}…, through the gateway …${b.slice(from, at + 80)}…`
}

type Row = readonly (string | number | null)[]

/** A delete (42501), an expression over a masked column (42501), a drop (42501), and then a statement that works. */
export function judgeDenied(line: Line | undefined): Cell {
  const found = Array.isArray(line?.value) ? line.value : []
  const right =
    found.slice(0, 3).every(code => code === '42501') &&
    found.length === 4 &&
    /true|\bt\b/.test(JSON.stringify(found[3]))
  return right ? { verdict: 'pass' } : { verdict: 'fail', note: JSON.stringify(line) }
}

/** Each way of asking gives each value as the rules say: computed here, from what the target itself shows. */
export function judgeMasked(direct: Line | undefined, through: Line | undefined): Cell {
  const wanted = setsOf(direct).map(rows => rows.map(maskedRow))
  const got = setsOf(through)
  if (wanted.length === 0 || wanted[0]?.length === 0)
    return { verdict: 'fail', note: `directly: ${JSON.stringify(direct)}` }
  return JSON.stringify(wanted) === JSON.stringify(got)
    ? { verdict: 'pass' }
    : { verdict: 'fail', note: difference(JSON.stringify(wanted), JSON.stringify(got ?? through)) }
}

function setsOf(line: Line | undefined): readonly (readonly Row[])[] {
  return Array.isArray(line?.value) ? (line.value as Row[][]) : []
}

function maskedRow([id, email, , card]: Row): Row {
  return [id!, keepLast(String(email), 8), '[redacted]', keepLast(String(card), 4)]
}

const separators = /[ \-./@:()+]/

/** Signs that part a value into groups stay and do not count; of the others the last ones are shown. */
function keepLast(text: string, count: number): string {
  let left = count
  const signs = Array.from(text).reverse()
  return signs
    .map(sign => (separators.test(sign) || left-- > 0 ? sign : '*'))
    .reverse()
    .join('')
}
