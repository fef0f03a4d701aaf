import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** A value in every shape in which it could slip out: text, hex, base64 at each alignment, UTF-16. */
export function shapesOf(value: string): Buffer[] {
  const bytes = Buffer.from(value)
  const hex = bytes.toString('hex')
  const base64 = [0, 1, 2].flatMap(shift => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64')
    const inner = text.slice(Math.ceil((shift * 4) / 3), Math.floor(((shift + bytes.length) * 4) / 3))
    return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')]
  })
  const utf16 = Buffer.from(value, 'utf16le')
  return [
    bytes,
    ...[hex, hex.toUpperCase(), ...base64].map(text => Buffer.from(text)),
    utf16,
    Buffer.from(utf16).swap16(),
  ]
}

/** Names of the values that are found in some shape. */
export function found(haystack: Buffer | string, values: Readonly<Record<string, string>>): string[] {
  const bytes = typeof haystack === 'string' ? Buffer.from(haystack) : haystack
  return Object.entries(values)
    .filter(([, value]) => shapesOf(value).some(shape => bytes.includes(shape)))
    .map(([name]) => name)
}

/** The same over a file, or each file below a folder: `path: name`. */
export function foundBelow(path: string, values: Readonly<Record<string, string>>): string[] {
  if (statSync(path).isDirectory()) return readdirSync(path).flatMap(name => foundBelow(join(path, name), values))
  return found(readFileSync(path), values).map(value => `${path}: ${value}`)
}
