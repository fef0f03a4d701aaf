import { Worker } from 'node:worker_threads'
import type { Problem } from './problem.ts'
import { doubledKeys } from './yaml-place.ts'

/** The parser needs seconds for a megabyte: longer files are read in a thread, while this process goes on with its work. */
const atOnce = 64 * 1024
const most_ms = 120_000
const most_mb = 1024

/** `doubledKeys` of a file of any length. One that takes too long or too much memory is a problem. */
export function doubledKeysApart(
  file: string,
  text: string,
  { execArgv, end_ms = readingEnds() }: { execArgv?: readonly string[]; end_ms?: number } = {},
): Promise<Problem[]> {
  if (text.length <= atOnce) return Promise.resolve(doubledKeys(file, text))
  return new Promise(resolve => {
    const script = import.meta.url.endsWith('.ts') ? './yaml-worker.ts' : './yaml-worker.js'
    const worker = new Worker(new URL(script, import.meta.url), {
      workerData: { file, text },
      resourceLimits: { maxOldGenerationSizeMb: most_mb },
      ...(execArgv === undefined ? {} : { execArgv: [...execArgv] }),
    })
    const done = (problems: Problem[]) => {
      clearTimeout(late)
      resolve(problems)
      void worker.terminate()
    }
    const failed = (why: string) => done([{ code: 'data', file, message: `the file cannot be read: ${why}` }])
    const late = setTimeout(() => failed('it takes too long; divide it'), Math.max(0, end_ms - performance.now()))
    worker.once('message', done)
    worker.once('error', error => failed(error.message))
    worker.once('exit', () => failed('its reader ended'))
  })
}

/** When the reading of all files of one commit must be over. */
export const readingEnds = (): number => performance.now() + most_ms
