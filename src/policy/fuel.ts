/**
 * Rewrites a WASM module so that each turn of each loop takes one from a counter, and traps below zero (WebAssembly Core
 * Specification 2.0, §5 binary format). There is no interrupt for synchronous WASM; this bounds an evaluation without a
 * thread, and the same input runs out at the same place when it is computed again.
 */
export const fuelExport = 'sallyport_fuel'

const section = { custom: 0, import: 2, global: 6, export: 7, code: 10 } as const

/** @throws Error for a module with an instruction or section that this does not know. */
export function addFuel(module: Uint8Array): Uint8Array<ArrayBuffer> {
  const reader = new Reader(module)
  if (reader.u32() !== 0x6d736100 || reader.u32() !== 1) throw new Error('not a WASM module of version 1')
  const sections: { id: number; body: Uint8Array }[] = []
  while (!reader.done()) {
    const id = reader.byte()
    sections.push({ id, body: reader.take(reader.leb()) })
  }
  const bodyOf = (id: number) => sections.find(s => s.id === id)?.body
  const globals = bodyOf(section.global)
  const fuel = importedGlobals(bodyOf(section.import)) + (globals === undefined ? 0 : new Reader(globals).leb())
  const out = new Writer()
  out.bytes(module.subarray(0, 8))
  let written = false
  for (const { id, body } of sections) {
    if (globals === undefined && !written && id !== section.custom && id > section.global) {
      out.section(section.global, vector(undefined, globalEntry))
      written = true
    }
    if (id === section.global) out.section(id, vector(body, globalEntry))
    else if (id === section.export) out.section(id, vector(body, exportEntry(fuel)))
    else if (id === section.code) out.section(id, rewriteCode(body, fuel))
    else out.section(id, body)
  }
  if (bodyOf(section.export) === undefined) throw new Error('the module exports nothing')
  return out.done()
}

/** `(global (mut i32) (i32.const 2147483647))`: construction runs loops too, before anybody can set it. */
const globalEntry = Uint8Array.of(0x7f, 0x01, 0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x0b)

function exportEntry(index: number): Uint8Array {
  const writer = new Writer()
  const name = new TextEncoder().encode(fuelExport)
  writer.leb(name.length)
  writer.bytes(name)
  writer.byte(0x03)
  writer.leb(index)
  return writer.done()
}

/** A vector with one more entry at its end. */
function vector(body: Uint8Array | undefined, entry: Uint8Array): Uint8Array {
  const reader = new Reader(body ?? Uint8Array.of(0))
  const writer = new Writer()
  writer.leb(reader.leb() + 1)
  writer.bytes(reader.rest())
  writer.bytes(entry)
  return writer.done()
}

function importedGlobals(body: Uint8Array | undefined): number {
  if (body === undefined) return 0
  const reader = new Reader(body)
  let globals = 0
  for (let left = reader.leb(); left > 0; left--) {
    reader.take(reader.leb())
    reader.take(reader.leb())
    const kind = reader.byte()
    if (kind === 0x00) reader.leb()
    else if (kind === 0x01) skipTable(reader)
    else if (kind === 0x02) skipLimits(reader)
    else if (kind === 0x03) {
      reader.take(2)
      globals++
    } else throw new Error(`an import of kind ${kind} is not known`)
  }
  return globals
}

function skipTable(reader: Reader): void {
  reader.byte()
  skipLimits(reader)
}

function skipLimits(reader: Reader): void {
  const flags = reader.byte()
  reader.leb()
  if (flags & 1) reader.leb()
}

function rewriteCode(body: Uint8Array, fuel: number): Uint8Array {
  const reader = new Reader(body)
  const writer = new Writer()
  const count = reader.leb()
  writer.leb(count)
  for (let i = 0; i < count; i++) {
    const rewritten = rewriteFunction(reader.take(reader.leb()), tick(fuel))
    writer.leb(rewritten.length)
    writer.bytes(rewritten)
  }
  return writer.done()
}

/** `fuel = fuel - 1; if (fuel < 0) unreachable` */
function tick(fuel: number): Uint8Array {
  const writer = new Writer()
  const global = (op: number) => {
    writer.byte(op)
    writer.leb(fuel)
  }
  global(0x23)
  writer.bytes(Uint8Array.of(0x41, 0x01, 0x6b))
  global(0x24)
  global(0x23)
  writer.bytes(Uint8Array.of(0x41, 0x00, 0x48, 0x04, 0x40, 0x00, 0x0b))
  return writer.done()
}

function rewriteFunction(code: Uint8Array, insert: Uint8Array): Uint8Array {
  const reader = new Reader(code)
  for (let groups = reader.leb(); groups > 0; groups--) {
    reader.leb()
    reader.byte()
  }
  const writer = new Writer()
  let copied = 0
  while (!reader.done()) {
    const op = reader.byte()
    skipImmediates(reader, op)
    if (op !== 0x03) continue
    writer.bytes(code.subarray(copied, reader.at))
    writer.bytes(insert)
    copied = reader.at
  }
  writer.bytes(code.subarray(copied))
  return writer.done()
}

/** Steps over what follows an opcode (§5.4). */
function skipImmediates(reader: Reader, op: number): void {
  if (op >= 0x02 && op <= 0x04)
    reader.leb() // block type: a value type, empty, or a type index
  else if (op === 0x0c || op === 0x0d || op === 0x10)
    reader.leb() // br, br_if, call
  else if (op === 0x0e)
    for (let left = reader.leb() + 1; left > 0; left--) reader.leb() // br_table
  else if (op === 0x11)
    reader.lebs(2) // call_indirect
  else if (op === 0x1c)
    reader.take(reader.leb()) // select with types
  else if (op >= 0x20 && op <= 0x26)
    reader.leb() // locals, globals, tables
  else if (op >= 0x28 && op <= 0x3e)
    reader.lebs(2) // loads and stores
  else if (op === 0x3f || op === 0x40)
    reader.leb() // memory.size, memory.grow
  else if (op === 0x41 || op === 0x42)
    reader.leb() // i32.const, i64.const
  else if (op === 0x43) reader.take(4)
  else if (op === 0x44) reader.take(8)
  else if (op === 0xd0 || op === 0xd2)
    reader.leb() // ref.null, ref.func
  else if (op === 0xfc) skipPrefixed(reader)
  else if (!plain(op)) throw new Error(`the instruction 0x${op.toString(16)} is not known here`)
}

function plain(op: number): boolean {
  return (
    op <= 0x01 ||
    op === 0x05 ||
    op === 0x0b ||
    op === 0x0f ||
    op === 0x1a ||
    op === 0x1b ||
    (op >= 0x45 && op <= 0xc4) ||
    op === 0xd1
  )
}

function skipPrefixed(reader: Reader): void {
  const sub = reader.leb()
  if (sub <= 7) return // saturating truncations
  if (sub === 8 || sub === 10 || sub === 12 || sub === 14) reader.lebs(2)
  else if (sub <= 17) reader.leb()
  else throw new Error(`the instruction 0xfc ${sub} is not known here`)
}

class Reader {
  at = 0
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  done(): boolean {
    return this.at >= this.#bytes.length
  }

  byte(): number {
    const value = this.#bytes[this.at++]
    if (value === undefined) throw new Error('the module ends too early')
    return value
  }

  u32(): number {
    return this.byte() | (this.byte() << 8) | (this.byte() << 16) | (this.byte() << 24)
  }

  /** An LEB128 integer. Only lengths, counts and indices are used as numbers; constants are merely stepped over. */
  leb(): number {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.byte()
      if (shift < 35) value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new Error('an integer of the module is too long')
  }

  lebs(count: number): void {
    for (let i = 0; i < count; i++) this.leb()
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.at) throw new Error('the module ends too early')
    const taken = this.#bytes.subarray(this.at, this.at + length)
    this.at += length
    return taken
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.length - this.at)
  }
}

class Writer {
  readonly #chunks: Uint8Array[] = []

  bytes(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
  }

  byte(value: number): void {
    this.#chunks.push(Uint8Array.of(value))
  }

  leb(value: number): void {
    let left = value
    for (; left >= 0x80; left = Math.floor(left / 128)) this.byte((left % 128) | 0x80)
    this.byte(left)
  }

  section(id: number, body: Uint8Array): void {
    this.byte(id)
    this.leb(body.length)
    this.bytes(body)
  }

  done(): Uint8Array<ArrayBuffer> {
    const size = this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    const out = new Uint8Array(size)
    let at = 0
    for (const chunk of this.#chunks) {
      out.set(chunk, at)
      at += chunk.length
    }
    return out
  }
}
