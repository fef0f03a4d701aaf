import { parentPort, workerData } from 'node:worker_threads'
import { doubledKeys } from './yaml-place.ts'

/** The thread in which one long file is read. */
const { file, text } = workerData as { readonly file: string; readonly text: string }
parentPort!.postMessage(doubledKeys(file, text))
