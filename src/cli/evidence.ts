import { closeSync, createReadStream, openSync, readSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { SallyportError } from '../errors.ts'
import { verifyBundle } from '../evidence/verify-bundle.ts'
import type { VerifyCommand } from './audit.ts'
import type { Client } from './client.ts'
import { instantOf } from './decisions.ts'
import { plain, say } from './output.ts'

export interface EvidenceCommand {
  readonly session?: string
  readonly request?: string
  readonly subject?: string
  readonly from?: string
  readonly to?: string
  readonly output?: string
  readonly key?: string
  readonly witness?: string[]
}

/** Fetches a bundle, verifies it, and keeps it. @returns exit code 0 only for a bundle that verifies. */
export async function evidence(client: Client, options: EvidenceCommand): Promise<number> {
  const { session, request, subject, from, to } = options
  const query = new URLSearchParams()
  if (session !== undefined) query.set('session', session)
  if (request !== undefined) query.set('request', request)
  if (subject !== undefined) {
    if (from === undefined)
      throw new SallyportError('bad_request', 'evidence about a subject needs a time', {
        remedy: 'add --from 30d, and --to where it ends',
      })
    query.set('subject', subject)
    query.set('from_ms', String(instantOf('--from', from)))
    query.set('to_ms', String(to === undefined ? Date.now() : instantOf('--to', to)))
  }
  if ([session, request, subject].filter(one => one !== undefined).length !== 1)
    throw new SallyportError('bad_request', 'say what the evidence is about', {
      remedy: 'give one of --session, --request, or --subject with --from',
    })
  const output = options.output ?? `evidence-${(session ?? request ?? subject!).replace(/[^\w.@-]/g, '_')}.tar`
  const part = `${output}.part`
  try {
    await fetched(client, `/api/evidence?${query}`, part)
    const { lines, ok } = await checked(part, options)
    for (const line of lines) say(plain(line))
    if (!ok)
      throw new SallyportError('internal', 'the bundle does not verify', {
        remedy: 'the lines above name what is wrong; `sallyport audit verify` on the control host says more',
      })
    await rename(part, output)
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
  say(
    `${output} holds it. Check it anywhere: sallyport verify ${output} --key KEY, or node verify.mjs ${output} --key KEY`,
  )
  return 0
}

/** A bundle whose recording was sealed anew in the middle is cut off: it is asked for once more. */
async function fetched(client: Client, path: string, part: string): Promise<void> {
  for (let tried = 1; ; tried++) {
    const file = await open(part, 'w', 0o600)
    try {
      for await (const chunk of client.stream(path)) await file.write(chunk)
      return
    } catch (error) {
      if (error instanceof SallyportError) throw error
      if (tried === 2)
        throw new SallyportError('not_ready', 'the control plane broke the bundle off before its end', {
          remedy: 'try again; the log of control says why it broke off',
          cause: error,
        })
    } finally {
      await file.close()
    }
  }
}

/** Whether a file is an archive, by its first block. */
export function isArchive(path: string): boolean {
  const file = openSync(path, 'r')
  try {
    const head = Buffer.alloc(263)
    return readSync(file, head, 0, head.length, 0) === head.length && head[0] !== 0x7b
  } finally {
    closeSync(file)
  }
}

export async function verifyBundleFile(path: string, options: VerifyCommand): Promise<number> {
  const { lines, ok } = await checked(path, options)
  for (const line of lines) say(plain(line))
  return ok ? 0 : 1
}

async function checked(path: string, options: VerifyCommand): Promise<{ lines: string[]; ok: boolean }> {
  const { reportLines } = await import('../evidence/verify-words.ts')
  const read = () => createReadStream(path, { highWaterMark: 1 << 20 })
  if (options.recompute !== true) {
    const report = await verifyBundle(read(), { vkey: options.key, witnesses: options.witness })
    return { lines: reportLines(report), ok: report.ok }
  }
  const { recomputeBundle } = await import('../evidence/recompute.ts')
  const { findOpa } = await import('../policy/opa-binary.ts')
  const opa = await findOpa({ progress: line => process.stderr.write(`${line}\n`) })
  const report = await recomputeBundle(read, { vkey: options.key, witnesses: options.witness, opa })
  return { lines: reportLines(report), ok: report.ok }
}
