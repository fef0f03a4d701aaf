/** Masks each element of an array in binary format (array_send): dimensions, flags, element type, bounds, elements. */
export function mapArray(value: Buffer, apply: (element: Buffer) => Buffer | null): Buffer | null {
  if (value.length < 12) return null
  const dimensions = value.readInt32BE(0)
  if (dimensions < 0 || dimensions > 6) return null
  const header = 12 + dimensions * 8
  if (value.length < header) return null
  const parts: Buffer[] = []
  let nulls = false
  for (let at = header; at < value.length; ) {
    if (at + 4 > value.length) return null
    const length = value.readInt32BE(at)
    const end = at + 4 + Math.max(0, length)
    if (length < -1 || end > value.length) return null
    const shown = length < 0 ? null : apply(value.subarray(at + 4, end))
    const head = Buffer.allocUnsafe(4)
    head.writeInt32BE(shown === null ? -1 : shown.length)
    parts.push(head)
    if (shown === null) nulls = true
    else parts.push(shown)
    at = end
  }
  const start = Buffer.from(value.subarray(0, header))
  if (nulls) start.writeInt32BE(1, 4)
  return Buffer.concat([start, ...parts])
}

/** The same for the text format: `{a,"b c",NULL,{…}}`, with bounds before it or not. */
export function mapArrayText(value: string, apply: (element: string) => string | null): string | null {
  let out = ''
  let at = 0
  const bounds = /^(?:\[[^\]]*\])+=/.exec(value)
  if (bounds !== null) {
    out = bounds[0]
    at = bounds[0].length
  }
  let depth = 0
  while (at < value.length) {
    const c = value[at]!
    if (c === '{' || c === '}' || c === ',') {
      depth += c === '{' ? 1 : c === '}' ? -1 : 0
      if (depth < 0) return null
      out += c
      at++
      continue
    }
    if (depth === 0) return null
    let element = ''
    const quoted = c === '"'
    if (quoted) at++
    for (; ; at++) {
      if (at >= value.length) return null
      const inner = value[at]!
      if (quoted ? inner === '"' : inner === ',' || inner === '}') break
      if (inner === '\\') at++
      element += value[at] ?? ''
    }
    if (quoted) at++
    const shown = !quoted && element === 'NULL' ? null : apply(element)
    out += shown === null ? 'NULL' : `"${shown.replace(/["\\]/g, '\\$&')}"`
  }
  return depth === 0 ? out : null
}
