import { canonical, type Json } from '../../canonical.ts'
import { type Bundle, bundleDigest } from '../bundle.ts'
import { compile, type GateOptions } from '../gate.ts'
import { Refused, refusalError } from '../problem.ts'
import { rebuild } from '../rebuild.ts'
import type { Sources } from '../repository/sources.ts'

/** A compiled commit as a thread takes it: plain values. */
export interface Candidate {
  /** As the reader named it. */
  readonly name: string
  readonly commit: string
  readonly digest: string
  readonly meta: Bundle['meta']
  readonly wasm: Uint8Array
  /** Canonical text of its data. */
  readonly data: string
}

/** Puts a commit through the gate. @throws SallyportError that lists what is wrong with it, with file and line. */
export async function compileCandidate(
  commit: { readonly name: string; readonly commit: string },
  sources: Sources,
  gate: GateOptions,
): Promise<Candidate> {
  try {
    const { bundle } = await compile(sources, gate)
    return candidateOf(commit, bundle)
  } catch (error) {
    throw error instanceof Refused ? refusalError(error) : error
  }
}

/**
 * Builds a commit that was in force already. It is not put through the gate: a gate that has become stricter must not
 * keep anybody from seeing what mends it.
 */
export async function rebuildCandidate(
  commit: { readonly name: string; readonly commit: string },
  sources: Sources,
  opa: string,
): Promise<Candidate> {
  try {
    const rebuilt = await rebuild(sources, opa)
    rebuilt[Symbol.dispose]()
    return candidateOf(commit, rebuilt.bundle)
  } catch (error) {
    throw error instanceof Refused ? refusalError(error) : error
  }
}

export function candidateOf(of: { readonly name: string; readonly commit: string }, bundle: Bundle): Candidate {
  return {
    name: of.name,
    commit: of.commit,
    digest: bundleDigest(bundle),
    meta: bundle.meta,
    wasm: Buffer.from(bundle.wasm, 'base64'),
    data: canonical(bundle.data as Json),
  }
}
