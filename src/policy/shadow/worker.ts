import { parentPort, workerData } from 'node:worker_threads'
import { type Observed, Weigher, type WeigherOptions } from './weigher.ts'

/** The thread of a shadow: decisions come in, each batch is answered with what was found since the last. */
const port = parentPort!
const weigher = new Weigher(workerData as WeigherOptions)

port.on('message', (batch: readonly Observed[]) => {
  for (const observed of batch) weigher.weigh(observed)
  port.postMessage(weigher.take())
})
