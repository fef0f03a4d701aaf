import { type Logger, pino } from 'pino'
import { Secret } from './secret.ts'

export type { Logger }

/** Every logger of the program is made here, so that level, shape and redaction are the same everywhere. */
const root = pino({
  level: process.env['SALLYPORT_LOG_LEVEL'] ?? 'info',
  base: { pid: process.pid },
  timestamp: pino.stdTimeFunctions.isoTime,
  redact: {
    paths: [
      'password',
      '*.password',
      'secret',
      '*.secret',
      'token',
      '*.token',
      'authorization',
      '*.authorization',
      'cookie',
      '*.cookie',
      '*.headers.authorization',
      '*.headers.cookie',
    ],
    censor: '[secret]',
  },
  serializers: { err: faultFacts },
  formatters: {
    log: entry => Object.fromEntries(Object.entries(entry).map(([k, v]) => [k, v instanceof Secret ? '[secret]' : v])),
  },
})

/** A logger for one room; `room` is the folder's name. */
export function logger(room: string): Logger {
  return root.child({ room })
}

const maxText = 4000

/**
 * What a log line says of a fault: kind, code, message, where, and the same of its causes. INVARIANT: nothing else of an
 * error is printed, since libraries hang whole requests with their headers, and statements with their parameters, on theirs.
 */
export function faultFacts(fault: unknown, depth = 0): unknown {
  if (!(fault instanceof Error)) return typeof fault === 'string' ? fault.slice(0, maxText) : typeof fault
  const code: unknown = Reflect.get(fault, 'code')
  return {
    type: fault.name,
    message: ownMessage(fault),
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    stack: framesOf(fault),
    ...(fault.cause === undefined || depth >= 4 ? {} : { cause: faultFacts(fault.cause, depth + 1) }),
  }
}

/** The message of a fault in one line, for a row or an event, under the same rule. */
export function faultMessage(fault: unknown): string {
  if (!(fault instanceof Error)) return String(fault).slice(0, maxText)
  const cause = holdsParameters(fault) && fault.cause instanceof Error ? `: ${ownMessage(fault.cause)}` : ''
  return ownMessage(fault) + cause
}

/** drizzle's message is the statement with all its parameters; what went wrong stands in its cause. */
function ownMessage(fault: Error): string {
  return holdsParameters(fault) ? 'a statement failed' : fault.message.slice(0, maxText)
}

function holdsParameters(fault: Error): boolean {
  return 'params' in fault && 'query' in fault
}

/** The stack without its head, which repeats the message. */
function framesOf(fault: Error): string {
  const stack = fault.stack ?? ''
  const at = stack.indexOf(fault.message)
  return at < 0 ? '' : stack.slice(at + fault.message.length, at + fault.message.length + maxText).trim()
}
