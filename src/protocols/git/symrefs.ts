import type { Duplex } from 'node:stream'
import { dataLine, delimLine, flushLine, type Pkt, PktReader, WireError } from './pack/pkt-line.ts'
import { KnownRefs } from './pack/refs-answer.ts'

const mostMs = 15_000

export interface Names {
  /** Refs that are other names of refs: undefined where the target does not say. */
  readonly symrefs: ReadonlyMap<string, string> | undefined
  /** The object of HEAD; null where that names nothing yet, undefined where nobody said. */
  readonly head: string | null | undefined
}

/**
 * Asks the target which of its refs are other names of refs, and what HEAD is. The first of it version 2 alone says, which a
 * target may not speak (its sshd does not take GIT_PROTOCOL, say).
 */
export async function askNames(upload: Duplex): Promise<Names> {
  const late = setTimeout(() => upload.destroy(new WireError(`no answer in ${mostMs / 1000} s`)), mostMs)
  try {
    return await ask(upload)
  } finally {
    clearTimeout(late)
    upload.destroy()
  }
}

async function ask(upload: Duplex): Promise<Names> {
  const reader = new PktReader()
  const known = new KnownRefs()
  let place: 'offer' | 'refs' = 'offer'
  let format = ''
  let second = false
  let head: string | null = null
  for await (const chunk of upload as AsyncIterable<Buffer>) {
    let over = false
    const take = (pkt: Pkt): 'stop' | undefined => {
      if (place === 'refs' && pkt.kind === 'data') known.line(pkt.payload)
      else if (place === 'refs' && pkt.kind === 'flush') over = true
      else if (pkt.kind === 'data') {
        const text = pkt.payload.toString('latin1').trimEnd()
        if (text === 'version 2') second = true
        if (text.startsWith('object-format=')) format = text
        // Version 0: the first ref, if there is one.
        head ??= /^([0-9a-f]{40}|[0-9a-f]{64}) HEAD\0/.exec(text)?.[1] ?? null
      } else if (pkt.kind === 'flush') {
        if (!second) over = true
        else {
          place = 'refs'
          const capability = format === '' ? [] : [dataLine(`${format}\n`)]
          upload.write(
            Buffer.concat([dataLine('command=ls-refs\n'), ...capability, delimLine, dataLine('symrefs\n'), flushLine]),
          )
        }
      }
      return over ? 'stop' : undefined
    }
    reader.read(chunk, take)
    if (over) {
      upload.end(flushLine)
      return second ? { symrefs: known.symrefs, head: known.refs.get('HEAD') ?? null } : { symrefs: undefined, head }
    }
  }
  throw new WireError('an answer that is cut')
}
