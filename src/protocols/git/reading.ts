import type { Mark, Reading, ReadingPart, Readings, Tone } from '../../gateway/protocol.ts'
import { decidedParts } from '../../gateway/readings.ts'

/** How the events of this protocol read. Members are whatever a recording holds: each is looked at before it is used. */

const mostRows = 200
const mostText = 300

export const readings: Readings = {
  git_fetch: event => {
    const refs = texts(event['refs'])
    const objects = texts(event['objects'])
    const allowed = event['effect'] !== 'deny'
    return {
      title: `fetch from ${text(event['repository'])}`,
      tone: allowed ? 'plain' : 'bad',
      marks: [
        ...(allowed ? [] : [mark('refused', 'bad')]),
        ...counted('ref', count(event['refs_total'], refs.length)),
        ...counted('object', count(event['objects_total'], objects.length)),
        ...(typeof event['depth'] === 'number' ? [mark(`depth ${event['depth']}`)] : []),
        ...(text(event['filter']) === '' ? [] : [mark(`without ${text(event['filter'])}`)]),
      ],
      parts: [
        part(
          'refs',
          refs.map(ref => [ref]),
          count(event['refs_total'], refs.length),
        ),
        part(
          'objects',
          objects.map(id => [id]),
          count(event['objects_total'], objects.length),
        ),
      ].filter(isFilled),
    }
  },

  git_push: event => {
    const change = text(event['change'])
    const commits = records(event['commits'])
    const paths = records(event['paths'])
    const lost = texts(event['lost'])
    const lostTotal = count(event['lost_total'], lost.length)
    const secrets = count(event['secrets'], 0)
    const { words, tone } = changes[change] ?? { words: 'push to', tone: 'warn' as const }
    const asked = text(event['asked'])
    return {
      title: `${words} ${text(event['ref'])} of ${text(event['repository'])}`,
      tone,
      marks: [
        mark(`${short(event['old'])} → ${short(event['new'])}`),
        ...(change === 'force' ? [mark('forced', 'bad')] : []),
        ...(change === 'delete' ? [mark('deleted', 'bad')] : []),
        ...counted('commit', count(event['commits_total'], commits.length)),
        ...(lostTotal > 0 ? [mark(`${lostTotal} lost`, 'bad')] : []),
        ...(secrets > 0 ? [mark(`${secrets} ${secrets === 1 ? 'secret' : 'secrets'}`, 'bad')] : []),
        ...(asked === '' ? [] : [mark(`asked as ${asked}`, 'warn')]),
        ...(event['administration'] === true ? [mark('configuration of the server', 'warn')] : []),
      ],
      parts: [
        part('commits', commits.map(commitRow), count(event['commits_total'], commits.length)),
        part('paths', paths.map(pathRow), count(event['paths_total'], paths.length)),
        part(
          'commits that nothing would reach any more',
          lost.map(id => [id]),
          lostTotal,
          'bad',
        ),
      ].filter(isFilled),
    }
  },

  git_ref: event => {
    const why = text(event['why'])
    const ref = `${text(event['ref'])} of ${text(event['repository'])}`
    const ids = mark(`${short(event['old'])} → ${short(event['new'])}`)
    if (event['done'] === true) return { title: `the server changed ${ref}`, tone: 'good', marks: [ids], parts: [] }
    const title = `the server was asked to change ${ref}: ${why === '' ? 'it does not say why it did not' : why}`
    return { title, tone: 'warn', marks: [ids, mark('not done', 'warn')], parts: [] }
  },

  git_lost: event => {
    const lost = texts(event['lost'])
    const total = count(event['lost_total'], lost.length)
    const kept = event['kept'] === true
    const may = event['done'] === false ? 'may have lost' : 'lost'
    const repository = text(event['repository'])
    const reading: Reading = {
      title: `${text(event['ref'])} of ${repository} ${may} ${total === 0 ? 'a tag' : many('commit', total)}${kept ? '' : ', which are not kept'}`,
      tone: 'bad',
      marks: [mark(kept ? 'can be restored' : 'cannot be restored', kept ? 'good' : 'bad')],
      parts: [
        part(
          'lost',
          lost.map(id => [id]),
          total,
          'bad',
        ),
        part('kept', kept ? [[`as long as this recording, ${bytesText(event['bytes'])}`]] : [], 0),
        part('why not', kept ? [] : [[text(event['why'])]], 0, 'bad'),
      ].filter(isFilled),
    }
    if (!kept) return reading
    return {
      ...reading,
      command: `sallyport git restore ${text(event['resource'])} ${repository} ${text(event['id'])}`,
    }
  },

  statement: event => {
    const allowed = event['effect'] === 'allow'
    const what = doing(text(event['actions']))
    return {
      title: allowed
        ? `allowed ${what}`
        : `refused ${what}: ${text(event['message']).replace(/^refused by policy: /, '')}`,
      tone: allowed ? 'good' : 'bad',
      marks: [],
      parts: decidedParts(event),
    }
  },
}

const changes: Readonly<Record<string, { readonly words: string; readonly tone: Tone }>> = {
  create: { words: 'push that creates', tone: 'plain' },
  'fast-forward': { words: 'push to', tone: 'plain' },
  force: { words: 'forced push to', tone: 'bad' },
  delete: { words: 'push that deletes', tone: 'bad' },
  unknown: { words: 'push to', tone: 'warn' },
}

/** What the actions of a decision are in words. */
function doing(actions: string): string {
  const kinds = [...new Set(actions.split(', '))]
  return kinds
    .map(kind => (kind === 'open' ? 'the command' : kind === 'restore' ? 'to bring back what was lost' : kind))
    .join(', ')
}

function commitRow(commit: Record<string, unknown>): string[] {
  const { id, author, subject, signed } = commit
  return [short(id), signatures[text(signed)] ?? 'not signed', text(author), text(subject)]
}

const signatures: Readonly<Record<string, string>> = {
  verified: 'verified',
  unknown: 'signed by a key that is not known',
  bad: 'BAD SIGNATURE',
}

function pathRow({ path, change, bytes, added, removed }: Record<string, unknown>): string[] {
  const lines = typeof added === 'number' && typeof removed === 'number' ? `+${added} −${removed}` : ''
  return [text(change), text(path), typeof bytes === 'number' && change !== 'deleted' ? bytesText(bytes) : '', lines]
}

function part(label: string, rows: readonly (readonly string[])[], total: number, tone: Tone = 'plain'): ReadingPart {
  const shown = rows.slice(0, mostRows)
  return { label, tone, rows: shown, more: Math.max(0, total - shown.length) }
}

const isFilled = ({ rows }: ReadingPart): boolean => rows.length > 0

function mark(words: string, tone: Tone = 'plain'): Mark {
  return { text: words, tone }
}

const many = (what: string, n: number): string => `${n} ${what}${n === 1 ? '' : 's'}`

const counted = (what: string, n: number): Mark[] => (n === 0 ? [] : [mark(many(what, n))])

const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, mostText) : '')

const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter(each => typeof each === 'string').map(text) : []

function records(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(each => typeof each === 'object' && each !== null) : []
}

const count = (value: unknown, otherwise: number): number =>
  typeof value === 'number' && value >= otherwise ? value : otherwise

/** Of an object id; nothing where there is none. */
const short = (id: unknown): string => (typeof id === 'string' ? id.slice(0, 12) : 'nothing')

function bytesText(bytes: unknown): string {
  if (typeof bytes !== 'number') return ''
  if (bytes < 1024) return `${bytes} bytes`
  return bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`
}
