import { parentPort, workerData } from 'node:worker_threads'
import { linesOf } from './blocks.ts'
import { Replay, type ReplayOptions } from './replay.ts'

/** One half of an impact report: blocks of lines come in, each is answered, and `null` asks for what was counted. */
const port = parentPort!
const replay = new Replay(workerData as ReplayOptions)

port.on('message', (block: Uint8Array | null) => {
  if (block === null) {
    port.postMessage(replay.done())
    port.close()
    return
  }
  for (const line of linesOf(block)) replay.line(line)
  port.postMessage(null)
})
