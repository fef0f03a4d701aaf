import { posix } from 'node:path'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export type ReadPath = { readonly path: string } | { readonly refused: string }

/**
 * A path as policy sees it, and as the target then gets it: no `..`, no `//`, no `.`, absolute where the login's home is
 * known. What cannot be written so is refused; a policy could not decide on it.
 */
export function readPath(bytes: Buffer, home: string | undefined): ReadPath {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return { refused: 'a path that is not UTF-8' }
  }
  if (/\p{Cc}/u.test(text)) return { refused: 'a path with control characters' }
  const joined = text.startsWith('/') ? text : posix.join(home ?? '.', text === '' ? '.' : text)
  const plain = posix
    .normalize(joined)
    .replace(/^\/+/, '/')
    .replace(/(?<=[^/])\/+$/, '')
  if (plain === '..' || plain.startsWith('../')) return { refused: 'a path above the login’s home: write it from / on' }
  return { path: plain }
}
