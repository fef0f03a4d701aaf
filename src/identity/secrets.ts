import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** A random text of 256 bits that a browser, a URL and a header can carry. */
export function randomText(): string {
  return randomBytes(32).toString('base64url')
}

/** Whether text has the shape of `randomText()`. */
export function isRandomText(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text)
}

/**
 * What is stored of a random secret. The use is part of the hash, so that a value that is good for one use (a cookie, a
 * code, a token) is worth nothing at the door of another.
 */
export function hashFor(use: 'state' | 'browser' | 'web' | 'cli' | 'cli-code' | 'api-token', text: string): Buffer {
  return createHash('sha256').update(`${use}\0${text}`, 'utf8').digest()
}

/** Constant-time comparison of two hashes. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
