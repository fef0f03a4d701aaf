import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { transformWithOxc } from 'vite'

/** What the transform leaves to a package of its own, which is not among ours. */
const helpers = new Map([['@oxc-project/runtime/helpers/usingCtx', new URL('./using.js', import.meta.url).href]])

export async function resolve(specifier, context, next) {
  const url = helpers.get(specifier)
  return url === undefined ? next(specifier, context) : { url, shortCircuit: true }
}

/** Strips the types of our own files; packages are loaded as they are. */
export async function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts') || url.includes('/node_modules/')) return next(url, context)
  const path = fileURLToPath(url)
  const { code } = await transformWithOxc(await readFile(path, 'utf8'), path, { target: 'es2023' })
  return { format: 'module', source: code, shortCircuit: true }
}
