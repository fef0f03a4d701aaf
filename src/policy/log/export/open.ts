import type { Config } from '../../../config.ts'
import { SallyportError } from '../../../errors.ts'
import { secretRef } from '../../../keys.ts'
import { fileSink } from './file.ts'
import { opaSink } from './opa.ts'
import type { Sink } from './sink.ts'
import { webhookSink } from './webhook.ts'

/** The exports of a configuration. @throws SallyportError `bad_config` for an address that would carry decisions in the clear. */
export function openSinks(exports: Config['decision_exports'], now: () => number): Sink[] {
  const names = new Set<string>()
  return (exports ?? []).map((each, i) => {
    const { name, kind } = each
    if (names.has(name)) throw refused(i, `there are two exports called ${name}`)
    names.add(name)
    if (kind === 'file') return fileSink({ name, folder: each.folder, max_bytes: (each.max_mib ?? 64) << 20 })
    checkUrl(each.url, i)
    if (kind === 'webhook') {
      const secret = each.secret === undefined ? undefined : secretRef(each.secret)
      return webhookSink({ name, url: each.url, secret, max_bytes: (each.max_kib ?? 256) << 10, now })
    }
    const token = each.token === undefined ? undefined : secretRef(each.token)
    return opaSink({ name, url: each.url, token, max_bytes: (each.max_kib ?? 256) << 10 })
  })
}

function checkUrl(url: string, i: number): void {
  const { protocol, hostname, username } = new URL(url)
  if (username !== '') throw refused(i, 'a credential stands in the url', 'name it as token: or secret:')
  if (protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(hostname)) return
  throw refused(i, `${hostname} would get decisions over plain http`, 'use https')
}

function refused(i: number, why: string, remedy = 'correct it and start again'): SallyportError {
  return new SallyportError('bad_config', `/decision_exports/${i}: ${why}`, { remedy })
}
