import { gunzipSync, gzipSync } from 'node:zlib'
import { type Static, Type as T } from 'typebox'
import { Compile } from 'typebox/compile'
import { canonical, type Json, digest as sha256 } from '../canonical.ts'
import { DataSchema } from './data-schema.ts'

/** How a bundle is built and evaluated: bump it when the build's options, the fuel or the result's canonical form change. */
export const bundleOpts = 1

const maxBytes = 64 << 20
const closed = { additionalProperties: false }
const Place = T.Object({ file: T.String(), line: T.Integer() }, closed)

/** The compiled revision. `meta` is what activation learned about the sources that evaluation itself does not need. */
const BundleSchema = T.Object(
  {
    opa: T.String(),
    opts: T.Integer(),
    caps: T.String(), // SHA-256 of the capabilities
    data: DataSchema,
    wasm: T.String(), // base64, as the compiler wrote it
    meta: T.Object(
      {
        rules: T.Record(T.String(), Place), // rule id → place
        defaults: T.Record(T.String(), T.String()), // point → id of its default rule
        needs: T.Array(T.String()), // of the `action` point's package
      },
      closed,
    ),
  },
  closed,
)
const checker = Compile(BundleSchema)

export type Bundle = Static<typeof BundleSchema>

/** A bundle as it travels: the row of `revisions`. */
export interface SignedBundle {
  readonly generation: number
  readonly commit: string
  readonly digest: string
  readonly bundle: Uint8Array
  readonly signature: Uint8Array
  readonly activated_at_ms: number
  /** Of a recovery: nothing is decided by it after that. */
  readonly ends_at_ms?: number | undefined
}

/**
 * The digest of a bundle: over the hashes of its parts, so that an outsider who has the commit and the same compiler
 * can compute it again. The time and place of the build do not enter.
 */
export function bundleDigest(bundle: Bundle): string {
  return sha256(
    canonical({
      opa: bundle.opa,
      opts: bundle.opts,
      caps: bundle.caps,
      data: sha256(canonical(bundle.data as Json)),
      meta: sha256(canonical(bundle.meta)),
      wasm: sha256(Buffer.from(bundle.wasm, 'base64')),
    }),
  )
}

/**
 * The bytes of a bundle: gzip of its canonical JSON.
 * @throws RangeError for one that no process would load: it must not be activated either.
 */
export function packBundle(bundle: Bundle): Buffer {
  const text = Buffer.from(canonical(bundle as Json))
  if (text.length > maxBytes)
    throw new RangeError(`the compiled bundle has ${text.length} bytes; ${maxBytes} are loaded`)
  return gzipSync(text)
}

/** @throws Error for bytes that are no bundle; the reader is a process that must then keep what it has. */
export function unpackBundle(bytes: Uint8Array): Bundle {
  const value: unknown = JSON.parse(gunzipSync(bytes, { maxOutputLength: maxBytes }).toString('utf8'))
  if (!checker.Check(value)) throw new Error('the bundle does not have the shape of one')
  if (value.opts !== bundleOpts)
    throw new Error(`the bundle was built with options ${value.opts}; this build evaluates ${bundleOpts}`)
  return value
}
