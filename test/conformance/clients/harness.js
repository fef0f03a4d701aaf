// What the JavaScript clients share.
import { createHash } from 'node:crypto'

export const way = JSON.parse(process.env.CONFORMANCE)
export const unicode = 'Zoë – 東京 – 🦀 – Ω\u0301'

/** A form that two runs can be compared by. */
export function plain(value) {
  if (Buffer.isBuffer(value)) return `bytes:${value.toString('hex')}`
  if (value instanceof Date) return `date:${value.toISOString()}`
  if (typeof value === 'bigint') return `bigint:${value}`
  if (typeof value === 'number' && !Number.isFinite(value)) return `number:${value}`
  if (Array.isArray(value)) return Array.from(value, plain)
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]))
  return value ?? null
}

export function digest(rows) {
  const sum = createHash('sha256')
  for (const row of rows) sum.update(JSON.stringify(row))
  return [rows.length, sum.digest('hex')]
}

/** Each behaviour on a connection of its own. */
export async function runAll(behaviours, open, close) {
  for (const name of way.run) {
    if (behaviours[name] === undefined) {
      console.log(JSON.stringify({ behaviour: name, unsupported: true }))
      continue
    }
    try {
      const c = await open()
      const value = await behaviours[name](c)
      console.log(JSON.stringify({ behaviour: name, value }))
      await close(c)
    } catch (error) {
      console.log(JSON.stringify({ behaviour: name, error: { code: error.code ?? null, message: error.message } }))
    }
  }
  process.exit(0) // whatever a failed behaviour left open
}
