import { type Logger, pino } from 'pino'
import { Secret } from './secret.ts'

export type { Logger }

/** Every logger of the program is made here, so that level, shape and redaction are the same everywhere. */
const root = pino({
  level: process.env['SALLYPORT_LOG_LEVEL'] ?? 'info',
  base: { pid: process.pid },
  timestamp: pino.stdTimeFunctions.isoTime,
  redact: {
    paths: ['password', '*.password', 'secret', '*.secret', 'token', '*.token', 'authorization', '*.authorization', 'cookie', '*.cookie', '*.headers.authorization', '*.headers.cookie'],
    censor: '[secret]',
  },
  formatters: { log: entry => Object.fromEntries(Object.entries(entry).map(([k, v]) => [k, v instanceof Secret ? '[secret]' : v])) },
})

/** A logger for one room; `room` is the folder's name. */
export function logger(room: string): Logger {
  return root.child({ room })
}
