import { type CommitFacts, factBounds, type SignatureFacts, type UpdateFacts } from '../facts.ts'
import { plain } from './git.ts'

/** What a commit or tag object says of itself, with the signature it carries: nobody verified any of it. */
export interface ReadCommit {
  readonly id: string
  readonly parents: readonly string[]
  readonly facts: Omit<CommitFacts, 'signature'>
  readonly signed: NonNullable<SignatureFacts>['kind'] | null
}

export interface ReadTag {
  readonly target: string
  readonly tagger: NonNullable<UpdateFacts['tag']>['tagger']
  readonly signed: ReadCommit['signed']
}

interface Headers {
  readonly values: ReadonlyMap<string, readonly string[]>
  readonly message: Buffer
  readonly decode: (bytes: Buffer) => string
}

/** git-commit-tree(1): headers, continued by a space, then an empty line and the message. */
function readHeaders(object: Buffer): Headers {
  const end = object.indexOf('\n\n')
  const head = object.subarray(0, end < 0 ? object.length : end)
  const message = end < 0 ? Buffer.alloc(0) : object.subarray(end + 2)
  const raw = new Map<string, Buffer[]>()
  let last: Buffer[] | undefined
  for (let at = 0; at < head.length; ) {
    const stop = head.indexOf(10, at)
    const line = head.subarray(at, stop < 0 ? head.length : stop)
    at = stop < 0 ? head.length : stop + 1
    if (line[0] === 32 && last !== undefined) {
      last[last.length - 1] = Buffer.concat([last.at(-1)!, Buffer.from('\n'), line.subarray(1)])
      continue
    }
    const space = line.indexOf(32)
    const name = line.toString('latin1', 0, space < 0 ? line.length : space)
    last = raw.get(name) ?? []
    last.push(space < 0 ? Buffer.alloc(0) : line.subarray(space + 1))
    raw.set(name, last)
  }
  const decode = decoder(raw.get('encoding')?.[0]?.toString('latin1'))
  const values = new Map([...raw].map(([name, all]) => [name, all.map(decode)]))
  return { values, message, decode }
}

function decoder(label: string | undefined): (bytes: Buffer) => string {
  try {
    const text = new TextDecoder(label ?? 'utf-8')
    return bytes => text.decode(bytes)
  } catch {
    return bytes => bytes.toString('utf8')
  }
}

export function readCommit(id: string, object: Buffer): ReadCommit {
  const { values, message, decode } = readHeaders(object)
  const [author, committer] = [values.get('author')?.[0], values.get('committer')?.[0]].map(personOf)
  const parents = values.get('parent') ?? []
  const signature = values.get('gpgsig')?.[0] ?? values.get('gpgsig-sha256')?.[0]
  return {
    id,
    parents,
    facts: {
      id,
      parents: parents.length,
      author: author!.person,
      committer: committer!.person,
      authored_at_ms: author!.at_ms,
      committed_at_ms: committer!.at_ms,
      subject: subjectOf(decode(message)),
    },
    signed: kindOf(signature),
  }
}

export function readTag(object: Buffer): ReadTag {
  const { values, message, decode } = readHeaders(object)
  const tagger = values.get('tagger')?.[0]
  return {
    target: values.get('object')?.[0] ?? '',
    tagger: tagger === undefined ? null : personOf(tagger).person,
    signed: kindOf(/^-----BEGIN [A-Z ]+-----$/m.exec(decode(message))?.[0]),
  }
}

/** As git reads it, of old commits too: up to the first `<`, up to the first `>`, and digits behind the last one. */
function personOf(line: string | undefined): { person: CommitFacts['author']; at_ms: number } {
  const [, name = '', email = '', rest = ''] = /^([^<]*)<([^>]*)>(.*)$/s.exec(line ?? '') ?? []
  const [, at = '0'] = /(?:^|>)\s*(\d{1,12})(?!\d)[^>]*$/.exec(rest) ?? []
  return { person: { name: plain(name, 200), email: plain(email, 200) }, at_ms: Number(at) * 1000 }
}

/** git's own: the lines until the first empty one. */
function subjectOf(message: string): string {
  return plain(message.replace(/^\s+/, '').split(/\n[ \t\r]*\n/, 1)[0] ?? '', factBounds.subject)
}

function kindOf(signature: string | undefined): ReadCommit['signed'] {
  if (signature === undefined) return null
  if (signature.includes('BEGIN SSH SIGNATURE')) return 'ssh'
  if (signature.includes('BEGIN SIGNED MESSAGE')) return 'x509'
  return 'openpgp'
}
