/** gitprotocol-capabilities(5): words of the first line, some with a value. */

/** Of a fetch in versions 0 and 1. Each is carried as it is; one that is not here is neither offered nor asked for. */
export const fetchCapabilities = new Set([
  'multi_ack',
  'multi_ack_detailed',
  'no-done',
  'thin-pack',
  'side-band',
  'side-band-64k',
  'ofs-delta',
  'agent',
  'object-format',
  'symref',
  'shallow',
  'deepen-since',
  'deepen-not',
  'deepen-relative',
  'no-progress',
  'include-tag',
  'allow-tip-sha1-in-want',
  'allow-reachable-sha1-in-want',
  'filter',
  'session-id',
])

/** Of a push. Not among them `push-cert`, whose commands stand inside of a signed text (GI9). */
export const pushCapabilities = new Set([
  'report-status',
  'report-status-v2',
  'delete-refs',
  'quiet',
  'atomic',
  'ofs-delta',
  'side-band-64k',
  'push-options',
  'object-format',
  'agent',
  'session-id',
  'no-thin',
])

export type Capabilities = ReadonlyMap<string, string | null>

/** The last value counts where a word comes twice, `symref` apart. */
export function parseCapabilities(text: string): Capabilities {
  return new Map(
    words(text).map(word => {
      const at = word.indexOf('=')
      return at < 0 ? [word, null] : [word.slice(0, at), word.slice(at + 1)]
    }),
  )
}

function words(text: string): string[] {
  return text.split(' ').filter(word => word !== '')
}

/** Leaves out what is not known. */
export function onlyKnown(text: string, known: ReadonlySet<string>): string {
  return words(text)
    .filter(word => known.has(word.split('=', 1)[0]!))
    .join(' ')
}

/** The words that a peer must not say, as it was not offered them. */
export function unknownOf(text: string, known: ReadonlySet<string>): string[] {
  return words(text).filter(word => !known.has(word.split('=', 1)[0]!))
}

/** `symref=HEAD:refs/heads/main`, of which there may be many. */
export function symrefsOf(text: string): Map<string, string> {
  return new Map(
    words(text).flatMap(word => {
      const [, name, target] = /^symref=([^:]+):(.+)$/.exec(word) ?? []
      return name === undefined ? [] : [[name, target!] as const]
    }),
  )
}
