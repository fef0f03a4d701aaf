import { cosignedAt, parseWitness } from '../cosignature.ts'
import { post } from './http.ts'
import type { Place, Publication } from './place.ts'

export interface WitnessOptions {
  readonly name: string
  /** Prefix of its submissions: `add-checkpoint` lies below it. */
  readonly url: string
  /** Its verifier key, of type cosignature/v1. */
  readonly vkey: string
  readonly every_ms: number
}

/** A witness of https://c2sp.org/tlog-witness: it cosigns only what continues what it has cosigned before. */
export function witnessPlace({ name, url, vkey, every_ms }: WitnessOptions): Place {
  const witness = parseWitness(vkey)
  const address = `${url.replace(/\/+$/, '')}/add-checkpoint`
  const { host } = new URL(address)
  let known = 0

  async function submit(publication: Publication, old: number, signal: AbortSignal) {
    const proof = old === 0 ? [] : await publication.prove(old)
    const body = `${[`old ${old}`, ...proof].join('\n')}\n\n${publication.note}`
    return post(address, body, { 'content-type': 'text/plain' }, signal)
  }

  return {
    name,
    kind: 'witness',
    every_ms,
    cosigns: true,
    async publish(publication, signal) {
      const { size, note } = publication
      let answer = await submit(publication, Math.min(known, size), signal)
      const said = /^(0|[1-9]\d{0,15})\n?$/.exec(answer.text)
      if (answer.status === 409 && answer.type.startsWith('text/x.tlog.size') && said) {
        known = Number(said[1])
        if (known > size)
          throw new Error(`${host} has cosigned ${known} entries, and the log has ${size}: it went back`)
        answer = await submit(publication, known, signal)
      }
      if (answer.status === 422) throw new Error(`${host} cosigned another beginning of this log: it was rewritten`)
      if (answer.status === 403 || answer.status === 404)
        throw new Error(
          `${host} does not know this log or its key: give its operator the origin and the vkey (HTTP ${answer.status})`,
        )
      if (answer.status !== 200) throw new Error(`${host} answered ${answer.status}`)
      const text = note.slice(0, note.lastIndexOf('\n\n') + 1)
      const line = answer.text.split('\n').find(each => cosignedAt(each, text, witness) !== null)
      if (line === undefined) throw new Error(`the answer of ${host} holds no cosignature of ${witness.name}`)
      known = size
      return line
    },
  }
}
