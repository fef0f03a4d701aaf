import { Body, BodyError, utf8 } from './messages.ts'

/** Reads the bodies of what clients send. */

const maxParameter = 4096
const maxShown = 64
/** INVARIANT: the target cuts longer names (NAMEDATALEN), so two names here could be one there. */
const maxName = 63

export function nameIn(body: Body): string {
  const raw = body.cstring()
  if (raw.length > maxName) throw new BodyError(`a name of more than ${maxName} bytes`)
  return utf8(raw)
}

export function statementText(buffer: Buffer, from: number, end: number): string | null {
  const body = new Body(buffer, from, end)
  const raw = body.cstring()
  body.done()
  return textOf(raw)
}

export function textOf(raw: Buffer): string | null {
  try {
    return utf8(raw)
  } catch (error) {
    if (error instanceof BodyError) return null
    throw error
  }
}

/** `unread`: parameters of which something is not among those that are shown. */
export function readBind(body: Body): {
  formats: number[]
  parameters: (string | null)[] | null
  unread: number
} {
  const codes: number[] = []
  for (let left = count(body); left > 0; left--) codes.push(body.int16())
  const parameters: (string | null)[] = []
  const many = count(body)
  let unread = 0
  for (let i = 0; i < many; i++) {
    const length = body.int32()
    if (length < -1) throw new BodyError('a parameter has a negative length')
    const value = length === -1 ? null : body.bytes(length)
    if (i >= maxShown || length > maxParameter) unread++
    if (i >= maxShown) continue
    const binary = (codes.length === 1 ? codes[0] : codes[i]) === 1
    parameters.push(value === null ? null : shown(value, binary))
  }
  const formats: number[] = []
  for (let left = count(body); left > 0; left--) formats.push(body.int16())
  body.done()
  return { formats, parameters: parameters.length === 0 ? null : parameters, unread }
}

function shown(value: Buffer, binary: boolean): string {
  const cut = value.subarray(0, maxParameter)
  const text = binary ? '\\x' + cut.toString('hex') : cut.toString('utf8')
  return value.length > maxParameter ? `${text}… (${value.length} bytes)` : text
}

function count(body: Body): number {
  const value = body.int16()
  return value & 0xffff // up to 65535 parameters
}
