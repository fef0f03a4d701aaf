import { parentPort, workerData } from 'node:worker_threads'
import { type Observed, type Report, Weigher, type WeigherOptions } from './weigher.ts'

/** The thread of a shadow: decisions come in, each batch is answered with what was found since the last. */
const port = parentPort!
const weigher = new Weigher(workerData as WeigherOptions)

port.on('message', (batch: readonly Observed[]) => {
  const from = performance.now()
  for (const observed of batch) weigher.weigh(observed)
  const report: Report = { weighed: weigher.take(), took_ms: performance.now() - from }
  port.postMessage(report)
})
