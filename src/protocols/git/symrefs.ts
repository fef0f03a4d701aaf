import type { Duplex } from 'node:stream'
import { dataLine, delimLine, flushLine, type Pkt, PktReader, WireError } from './pack/pkt-line.ts'
import { KnownRefs } from './pack/refs-answer.ts'

const mostMs = 15_000

/**
 * Asks the target which of its refs are other names of refs: version 2 alone says that. Undefined where the target speaks no
 * version 2 (its sshd does not take GIT_PROTOCOL, say).
 */
export async function askSymrefs(upload: Duplex): Promise<ReadonlyMap<string, string> | undefined> {
  const late = setTimeout(() => upload.destroy(new WireError(`no answer in ${mostMs / 1000} s`)), mostMs)
  try {
    return await ask(upload)
  } finally {
    clearTimeout(late)
    upload.destroy()
  }
}

async function ask(upload: Duplex): Promise<ReadonlyMap<string, string> | undefined> {
  const reader = new PktReader()
  const known = new KnownRefs()
  let place: 'offer' | 'refs' = 'offer'
  let format = ''
  let second = false
  for await (const chunk of upload as AsyncIterable<Buffer>) {
    let over = false
    const take = (pkt: Pkt): 'stop' | undefined => {
      if (place === 'refs' && pkt.kind === 'data') known.line(pkt)
      else if (place === 'refs' && pkt.kind === 'flush') over = true
      else if (pkt.kind === 'data') {
        const text = pkt.payload.toString('latin1').trimEnd()
        if (text === 'version 2') second = true
        if (text.startsWith('object-format=')) format = text
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
      return second ? known.symrefs : undefined
    }
  }
  throw new WireError('an answer that is cut')
}
