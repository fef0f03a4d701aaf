import * as wrapper from '@open-policy-agent/opa-wasm'
import { addFuel, fuelExport } from './fuel.ts'
import { type DecisionCode, type Point, points } from './points.ts'

/** Loop turns of one evaluation. A usual decision takes about 1,100; this many end in 12–25 ms. Part of `bundleOpts`. */
export const fuelLimit = 2_000_000
const loadFuel = 2 ** 31 - 1
const pageBytes = 65_536
const growPages = 512

export type Evaluated =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false
      readonly code: Extract<DecisionCode, 'policy_fuel' | 'policy_memory' | 'policy_error'>
      readonly message: string
    }

/** What an evaluation came to, as the text that the module wrote: `[]`, or `[{"result": …}]`. */
export type EvaluatedText = { readonly ok: true; readonly text: string } | (Evaluated & { readonly ok: false })

/** What we use of the wrapper and of WebAssembly. The wrapper's declared types differ from what its module exports. */
interface LoadedPolicy {
  readonly entrypoints: Readonly<Record<string, number>>
  readonly wasmInstance: { readonly exports: Readonly<Record<string, unknown>> }
  readonly mem: { readonly buffer: ArrayBuffer; grow(pages: number): number }
  readonly minorVersion: number
  readonly dataAddr: number
  readonly dataHeapPtr: number
  setData(data: ArrayBuffer): void
}
/** OPA's WASM interface 1.2: input and result are JSON text in the module's memory, and the heap begins behind the input. */
type OpaEval = (
  reserved: 0,
  entry: number,
  data: number,
  input: number,
  inputLength: number,
  heap: number,
  format: 0,
) => number
interface CompiledModule {
  readonly compiled: true
}
type LoadPolicy = (module: CompiledModule, memory: { initial: number; maximum: number }) => LoadedPolicy
type Compile = new (bytes: Uint8Array) => CompiledModule

const { loadPolicySync } = (wrapper as unknown as { default: { loadPolicySync: LoadPolicy } }).default
const { Module } = (globalThis as unknown as { WebAssembly: { Module: Compile } }).WebAssembly
const encoder = new TextEncoder()

interface Instance {
  readonly policy: LoadedPolicy
  readonly fuel: { value: number }
  readonly opaEval: OpaEval
}

/**
 * The compiled policies with their data, bounded in time (fuel), memory and size. This is the only file that knows the
 * WASM wrapper, which throws strings, objects and errors alike: here they all become values.
 */
export class Evaluator {
  readonly #module: CompiledModule
  readonly #data: ArrayBuffer
  readonly #entries: Readonly<Record<Point, number>>
  #instance: Instance | null

  /**
   * @param kind a module of `tests` has no entry points of the policy; they are called by name.
   * @throws Error for a module without one of the entry points.
   */
  constructor(wasm: Uint8Array, data: string, kind: 'policy' | 'tests' = 'policy') {
    this.#module = new Module(addFuel(wasm))
    this.#data = bytesOf(data)
    this.#instance = this.#start()
    const known = this.#instance.policy.entrypoints
    const entries = Object.keys(points).map(point => [point, known[`sallyport/${point}/result`]] as const)
    const missing = entries.filter(([, id]) => typeof id !== 'number').map(([name]) => name)
    if (kind === 'policy' && missing.length > 0)
      throw new Error(`the compiled policy has no entry point for ${missing.join(', ')}`)
    this.#entries = Object.fromEntries(entries) as Record<Point, number>
  }

  /** Memory of the module; 0 where it trapped and the next question makes a new instance. */
  get memoryBytes(): number {
    return this.#instance?.policy.mem.buffer.byteLength ?? 0
  }

  /** The value of a point's `result`, undefined where no rule defines it. */
  evaluate(point: Point, input: string): Evaluated {
    return this.evaluateEntry(this.#entries[point], input)
  }

  /** Runs an entry point by number or name (the gate runs test rules by name). */
  evaluateEntry(entry: number | string, input: string): Evaluated {
    const answer = readAnswers(this.evaluateText(entry, input))
    if (!answer.ok) this.#instance = null // INVARIANT: an instance that trapped is never used again
    return answer
  }

  /** The same as text, for whoever compares answers before reading them. A point stands for its entry. */
  textOf(point: Point, input: string): EvaluatedText {
    return this.evaluateText(this.#entries[point], input)
  }

  private evaluateText(entry: number | string, input: string): EvaluatedText {
    let instance: Instance | undefined
    try {
      instance = this.#instance ??= this.#start()
      instance.fuel.value = fuelLimit
      return { ok: true, text: run(instance, entry, input) }
    } catch (thrown) {
      this.#instance = null
      return { ok: false, ...reasonOf(thrown, instance) }
    }
  }

  /** INVARIANT: an instance without its data is never reachable (`not data.blocked` would be true). */
  #start(): Instance {
    const initial = Math.ceil((10 * this.#data.byteLength) / pageBytes) + 16
    const policy = loadPolicySync(this.#module, { initial, maximum: initial + growPages })
    const fuel = policy.wasmInstance.exports[fuelExport] as { value: number }
    fuel.value = loadFuel
    policy.setData(this.#data)
    const opaEval = policy.wasmInstance.exports['opa_eval']
    if (policy.minorVersion < 2 || typeof opaEval !== 'function')
      throw new Error('the compiled policy has no entry that takes its input as text')
    return { policy, fuel, opaEval: opaEval as OpaEval }
  }
}

/** Reads what an evaluation came to. It does not throw. */
export function readAnswers(answer: EvaluatedText): Evaluated {
  if (!answer.ok) return answer
  try {
    const answers: unknown = JSON.parse(answer.text)
    if (!Array.isArray(answers) || answers.length > 1) throw new Error('an evaluation gave more than one answer')
    return { ok: true, value: (answers[0] as { result?: unknown } | undefined)?.result }
  } catch (thrown) {
    return { ok: false, code: 'policy_error', message: messageOf(thrown) }
  }
}

function reasonOf(
  thrown: unknown,
  instance: Instance | undefined,
): { code: 'policy_fuel' | 'policy_memory' | 'policy_error'; message: string } {
  if (instance !== undefined && instance.fuel.value < 0)
    return { code: 'policy_fuel', message: 'the policy did not end within its budget' }
  const message = messageOf(thrown)
  if (/memory|malloc|out of bounds|unreachable/i.test(message))
    return { code: 'policy_memory', message: 'the policy wanted more memory than it may have' }
  return { code: 'policy_error', message }
}

function messageOf(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown.slice(0, 500)
  const message =
    typeof thrown === 'object' && thrown !== null && 'message' in thrown
      ? String(thrown.message)
      : 'the evaluation failed'
  return message.slice(0, 500)
}

/** Writes the input behind the data, runs, and reads the text of the result: no copy of either is made on the way. */
function run({ policy, opaEval }: Instance, entry: number | string, input: string): string {
  const id =
    typeof entry === 'number' ? entry : Object.hasOwn(policy.entrypoints, entry) ? policy.entrypoints[entry] : undefined
  if (id === undefined) throw new Error(`the compiled policy has no entry point ${entry}`)
  const at = policy.dataHeapPtr
  const missing = at + 3 * input.length - policy.mem.buffer.byteLength // a character is at most three bytes
  if (missing > 0) policy.mem.grow(Math.ceil(missing / pageBytes))
  const { read, written } = encoder.encodeInto(input, new Uint8Array(policy.mem.buffer, at))
  if (read !== input.length) throw new Error('the input did not fit into the memory of the module')
  const address = opaEval(0, id, policy.dataAddr, at, written, at + written, 0)
  const memory = Buffer.from(policy.mem.buffer)
  const end = memory.indexOf(0, address)
  if (address <= 0 || end < 0) throw new Error('the evaluation left no answer in memory')
  return memory.toString('utf8', address, end)
}

/** The wrapper takes an ArrayBuffer that holds the bytes and nothing else. */
function bytesOf(text: string): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = encoder.encode(text)
  return byteOffset === 0 && buffer.byteLength === byteLength
    ? buffer
    : buffer.slice(byteOffset, byteOffset + byteLength)
}
