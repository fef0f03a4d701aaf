import { chainOf, openHandover } from '../audit/handover.ts'
import { verifyConsistency } from '../audit/merkle.ts'
import { handedOverAt, openCheckpoint, parseVkey, vkeyText } from '../audit/note.ts'
import { canonical, digest, type Json } from '../canonical.ts'
import { ArchiveFault, type Member, readArchive } from './archive.ts'
import type { DecisionLine } from './decision-lines.ts'
import { Findings, type FindingsReport } from './findings.ts'
import {
  type BundleFacts,
  bundleFormat,
  type EventLine,
  type Manifest,
  type ManifestProof,
  mostBytes,
  type OutsideLine,
  type PartFile,
  type RecordingFile,
} from './format.ts'
import { FactCheck } from './verify-facts.ts'
import { LogCheck, readEvent } from './verify-log.ts'
import { RecordingCheck } from './verify-recording.ts'
import { endedKey, sayBundle } from './verify-words.ts'
import { WitnessCheck } from './witnesses.ts'

export interface BundleReport extends FindingsReport {
  readonly facts: BundleFacts | null
}

export interface VerifyBundleOptions {
  /** The log's verifier key, from a source that the reader trusts; without it the key in the bundle is used, and the report says so. */
  readonly vkey?: string | undefined
  /** Verifier keys of witnesses that the reader trusts. */
  readonly witnesses?: readonly string[] | undefined
  /** Told of each file, before it is forgotten: who checks more has it here. */
  readonly onFile?: (file: Member) => void
}

/**
 * Checks a bundle with nothing but its bytes and a key: no network, no server, no clock. It reads it once, with one file
 * in memory at a time. INVARIANT: a byte that is changed anywhere is a flaw.
 */
export async function verifyBundle(
  chunks: AsyncIterable<Uint8Array>,
  options: VerifyBundleOptions = {},
): Promise<BundleReport> {
  const check = new BundleCheck(options)
  try {
    for await (const file of readArchive(chunks, mostBytes)) await check.take(file)
    check.finish()
  } catch (error) {
    if (error instanceof ArchiveFault) check.found.flaw(error.message)
    else if (error instanceof Stop) check.found.flaw(error.message)
    else throw error
  }
  return check.report()
}

/** Nothing after this can be judged. */
class Stop extends Error {}

class BundleCheck {
  readonly found = new Findings()
  readonly #options: VerifyBundleOptions
  readonly #witnesses: WitnessCheck
  readonly #files: { name: string; size: number; sha256: string }[] = []
  #facts: BundleFacts | null = null
  #key: string | undefined
  #handovers: readonly string[] = []
  #log: LogCheck | undefined
  #rows: FactCheck | undefined
  #recording: RecordingCheck | undefined
  #recordings = 0
  #manifest: { digest: string } | undefined
  #ended = false

  constructor(options: VerifyBundleOptions) {
    this.#options = options
    this.#witnesses = new WitnessCheck(options.witnesses)
  }

  async take(file: Member): Promise<void> {
    const { name, content, sha256 } = file
    if (this.#ended) throw new Stop(`${name} comes after the proof that ends a bundle`)
    if (this.#manifest !== undefined && name !== 'manifest.proof.json')
      throw new Stop(`${name} comes after the manifest, which does not name it`)
    this.#options.onFile?.(file)
    if (name !== 'manifest.json' && name !== 'manifest.proof.json')
      this.#files.push({ name, size: content.length, sha256 })
    try {
      await this.#read(name, content)
    } catch (error) {
      if (error instanceof Stop) throw error
      this.found.flaw(`${name} cannot be read: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  async #read(name: string, content: Buffer): Promise<void> {
    if (name === 'bundle.json') return void this.#begin(parsed<BundleFacts>(content))
    if (name === 'log/key.txt') this.#key = content.toString('utf8').trim()
    else if (name === 'log/handovers.json') this.#handovers = parsed<string[]>(content)
    else if (name === 'log/checkpoint.txt') this.#openLog(content.toString('utf8'))
    else if (name === 'log/outside.jsonl')
      for (const line of lines<OutsideLine>(content)) this.#opened(name).takeOutside(line, name)
    else if (name.startsWith('log/events-'))
      for (const line of lines<EventLine>(content)) this.#opened(name).take(line, name)
    else if (name.startsWith('requests-'))
      for (const line of lines<Record<string, unknown>>(content)) this.#facing(name).request(line)
    else if (name.startsWith('sessions-'))
      for (const line of lines<Record<string, unknown>>(content)) this.#facing(name).session(line)
    else if (name.startsWith('decisions/'))
      for (const line of lines<DecisionLine>(content)) this.#facing(name).decision(line, name)
    else if (/^revisions\/\d+\.json$/.test(name)) this.#facing(name).revision(parsed(content), name)
    else if (name.startsWith('recordings/')) await this.#record(name, content)
    else if (name === 'manifest.json') this.#list(content)
    else if (name === 'manifest.proof.json') this.#prove(content)
  }

  #begin(facts: BundleFacts): void {
    if (facts.format !== bundleFormat)
      throw new Stop(
        `this is a bundle of the format ${JSON.stringify(facts.format)}, which this verifier does not know`,
      )
    this.#facts = facts
  }

  #openLog(note: string): void {
    if (this.#key === undefined || this.#facts === null)
      throw new Stop('bundle.json and log/key.txt must come before the checkpoint')
    const verifier = (() => {
      try {
        const handovers = this.#handovers.flatMap(each => openHandover(each) ?? [])
        return chainOf(handovers, parseVkey(this.#options.vkey ?? this.#key))
      } catch (error) {
        throw new Stop((error as Error).message)
      }
    })()
    if (!verifier.links.some(link => vkeyText(link.verifier) === this.#key))
      this.found.flaw('the bundle names another key of the log than you gave')
    const checkpoint = openCheckpoint(note, verifier)
    if (checkpoint === null)
      throw new Stop(`the checkpoint of the bundle is NOT signed by ${verifier.name} with this key`)
    const ended = handedOverAt(note, verifier)
    if (ended !== null) this.found.not_proved.push(endedKey(ended))
    this.#log = new LogCheck(verifier, checkpoint, this.found, this.#witnesses)
    this.#log.given = !this.#facts.withheld.some(one => one.what.startsWith('events'))
    this.#rows = new FactCheck(this.#log, this.found)
  }

  #opened(name: string): LogCheck {
    if (this.#log === undefined) throw new Stop(`${name} comes before the checkpoint of the log`)
    return this.#log
  }

  #facing(name: string): FactCheck {
    this.#opened(name)
    return this.#rows!
  }

  async #record(path: string, content: Buffer): Promise<void> {
    const [, session = '', name = ''] = path.split('/')
    if (name === 'recording.json') {
      this.#recording?.finish()
      const file = parsed<RecordingFile>(content)
      if (file.session_id !== session) this.found.flaw(`${path} is about another session`)
      this.#recording = new RecordingCheck(file, this.#opened(path), this.found)
      this.#recordings++
      return
    }
    if (this.#recording?.session !== session)
      return void this.found.flaw(`${path} comes without the facts of its recording`)
    if (name === 'end.json') return void this.#recording.end(parsed(content))
    if (name.endsWith('.json')) return void this.#recording.part(parsed<PartFile>(content))
    await this.#recording.piece(name, content)
  }

  #list(content: Buffer): void {
    this.#recording?.finish()
    this.#recording = undefined
    const manifest = parsed<Manifest>(content)
    this.#manifest = { digest: digest(content) }
    if (canonical(manifest as unknown as Json) !== content.toString('utf8'))
      this.found.flaw('manifest.json is not in its canonical form')
    if (manifest.format !== bundleFormat) this.found.flaw('manifest.json is of another format')
    const named = manifest.files
    const has = new Set(this.#files.map(file => file.name))
    for (const file of named) if (!has.has(file.name)) this.found.flaw(`${file.name} is missing: the manifest names it`)
    const listed = new Map(named.map(file => [file.name, file]))
    for (const [i, file] of this.#files.entries()) {
      const said = listed.get(file.name)
      if (said === undefined) this.found.flaw(`${file.name} is not in the manifest: it was put there afterwards`)
      else if (said.sha256 !== file.sha256 || said.size !== file.size)
        this.found.flaw(`${file.name} was changed: its SHA-256 is not the one in the manifest`)
      else if (named[i]?.name !== file.name && named.length === this.#files.length)
        this.found.flaw(`${file.name} is not at its place in the archive`)
    }
  }

  #prove(content: Buffer): void {
    this.#ended = true
    const proof = parsed<ManifestProof>(content)
    if (`${JSON.stringify(proof)}\n` !== content.toString('utf8'))
      this.found.flaw('manifest.proof.json is not in the form in which it was written')
    const log = this.#opened('manifest.proof.json')
    const checkpoint = openCheckpoint(proof.checkpoint, log.verifier)
    if (checkpoint === null || !isStrict(proof.checkpoint))
      return void this.found.flaw(
        `the checkpoint behind the manifest is NOT signed by ${log.verifier.name} with this key`,
      )
    const path = proof.consistency.map(hash => Buffer.from(hash, 'hex'))
    const { size, root } = log.checkpoint
    const strict = proof.consistency.every(hash => /^[0-9a-f]{64}$/.test(hash))
    if (!strict || !verifyConsistency(size, root, checkpoint.size, checkpoint.root, path))
      this.found.flaw(
        `the log of ${checkpoint.size} entries is NOT a continuation of that of ${size}, on which the bundle stands`,
      )
    const event = readEvent(proof.event, checkpoint, 'the event of this bundle', this.found)
    if (event === undefined) return
    if (event.type !== 'evidence.exported' || event.body === null)
      return void this.found.flaw('the event behind the manifest is not that of an export')
    this.found.demand(
      event.body['manifest'] === this.#manifest?.digest,
      `the log holds an event of ${when(event.at_ms)} which names the SHA-256 of the manifest, and the manifest that of all ${this.#files.length} files: nothing was added, changed or left out since`,
      'the manifest is NOT the one that the log names: the bundle was put together anew after its export',
    )
    const { about, by, decision_id } = this.#facts!
    const fits =
      canonical(event.body['about'] as Json) === canonical({ ...about }) &&
      event.body['subject_id'] === by.id &&
      event.body['decision'] === decision_id
    if (!fits) this.found.flaw('bundle.json does NOT say what the log says of this export')
  }

  finish(): void {
    if (this.#facts === null) throw new Stop('this is no bundle: bundle.json is missing')
    if (this.#log === undefined) throw new Stop('log/checkpoint.txt is missing')
    if (this.#manifest === undefined) throw new Stop('the bundle is cut off: manifest.json is missing')
    if (!this.#ended) throw new Stop('the bundle is cut off: manifest.proof.json is missing')
  }

  report(): BundleReport {
    if (this.#log !== undefined && this.#rows !== undefined && this.#facts !== null)
      sayBundle(this.found, {
        log: this.#log,
        rows: this.#rows,
        facts: this.#facts,
        witnesses: this.#witnesses,
        recordings: this.#recordings > 0,
        unvouched: this.#options.vkey === undefined ? (this.#key ?? null) : null,
      })
    const report = this.found.report()
    // What is flawed somewhere is not trusted elsewhere: a reader of the last line must not find comfort in the first.
    return {
      ...report,
      facts: this.#facts,
      proved: report.ok ? report.proved : [],
      not_proved: report.ok ? report.not_proved : ['anything at all, as long as there is a flaw'],
    }
  }
}

/** Base64 has spare bits: a signature must be written the one way in which it is written. */
function isStrict(note: string): boolean {
  const signature = /^— \S+ (\S+)\n$/m.exec(note.slice(note.lastIndexOf('\n\n') + 2))?.[1]
  return signature !== undefined && Buffer.from(signature, 'base64').toString('base64') === signature
}

function parsed<T>(content: Buffer): T {
  const value = JSON.parse(content.toString('utf8')) as T
  if (typeof value !== 'object' || value === null) throw new TypeError('it holds no object')
  return value
}

function* lines<T>(content: Buffer): Generator<T> {
  for (const text of content.toString('utf8').split('\n')) if (text !== '') yield parsed<T>(Buffer.from(text))
}

const when = (ms: number): string => new Date(ms).toISOString()
