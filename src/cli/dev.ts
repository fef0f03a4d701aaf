import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { packageRoot } from '../db/package-root.ts'

/** `sallyport dev` is `npm start`: the bootstrap loads the development world, which no other command ever does. */
export async function dev(): Promise<void> {
  await import(pathToFileURL(join(packageRoot(), 'src/cli/start.js')).href)
}
