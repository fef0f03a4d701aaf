import type { StoredDecision } from '../policy/log/decision-filter.ts'
import { parseLine, type ReplayLine, renderLine } from '../recording/render.ts'
import type { Fact } from './collect.ts'
import type { About, BundleFacts, RecordingFile } from './format.ts'
import { type Html, html, page, time } from './html.ts'
import type { EventRow } from './log-proofs.ts'

/** A report is read by a person: the files beside it have all of it. */
const most = { rows: 3_000, events: 1_500, eventChars: 2_000, chars: 8 * 1024 * 1024 } as const

/** Gathers what a person reads of a bundle while its files are written, and holds a bounded part of it. */
export class Report {
  readonly #facts: BundleFacts
  readonly #subject: { readonly id: string; readonly name: string }
  readonly #events = new Rows()
  readonly #requests: Html[] = []
  readonly #sessions: Html[] = []
  readonly #decisions = new Rows()
  readonly #recordings: { readonly file: RecordingFile; readonly rows: Rows }[] = []
  #chars = 0

  constructor(facts: BundleFacts, subject: { readonly id: string; readonly name: string }) {
    this.#facts = facts
    this.#subject = subject
  }

  event({ id, idx, leaf, body }: EventRow): void {
    const { type, at_ms } = JSON.parse(leaf) as { type: string; at_ms: number }
    this.#events.add(
      () =>
        html`<tr><td>${time(at_ms)}</td><td>${idx}</td><td>${type}</td><td class="id">${id}</td><td><pre>${facts(body)}</pre></td></tr>`,
    )
  }

  request(row: Fact): void {
    if (this.#requests.length >= most.rows) return
    const votes = row['votes'] as readonly Fact[]
    const grant = row['grant'] as Fact | null
    this.#requests.push(html`<h3>${row['role']} on ${row['resource']}, for ${Number(row['duration_s']) / 60} min: ${row['state']}</h3>
<p class="dim"><code>${row['id']}</code>, asked ${time(row['created_at_ms'])} by <code>${row['subject_id']}</code>${row['on_behalf_of'] === null ? '' : html` on behalf of <code>${row['on_behalf_of']}</code>`}</p>
<p>Reason: <q>${row['reason']}</q>${row['ticket_ref'] === null ? '' : html`, ticket ${row['ticket_ref']}`}</p>
<table><tr><th>vote</th><th>by</th><th>stage</th><th>when</th><th>via</th></tr>${votes.map(
      vote =>
        html`<tr><td class="${vote['answer'] === 'approve' ? 'allow' : 'deny'}">${vote['answer']}</td><td class="id">${vote['approver_id']}</td><td>${vote['stage']}</td><td>${time(vote['at_ms'])}</td><td>${vote['via']}</td></tr>`,
    )}</table>
<p>${votes.length === 0 ? 'Nobody voted: policy answered by itself. ' : ''}${grant === null ? 'No grant came of it.' : html`Granted from ${time(grant['starts_at_ms'])} to ${time(grant['ends_at_ms'])}${grant['revoked_at_ms'] === null ? '' : html`, revoked ${time(grant['revoked_at_ms'])}: ${grant['revoke_reason']}`}.`}</p>`)
  }

  session(row: Fact): void {
    if (this.#sessions.length >= most.rows) return
    this.#sessions.push(
      html`<tr><td class="id">${row['id']}</td><td>${row['role']} on ${row['resource']}</td><td>${time(row['opened_at_ms'])}</td><td>${time(row['ended_at_ms'])}</td><td>${row['end_reason']}</td><td>${(row['connections'] as readonly Fact[]).map(one => html`<div>${one['client_address']}</div>`)}</td></tr>`,
    )
  }

  decision(row: StoredDecision): void {
    this.#decisions.add(
      () =>
        html`<tr><td>${time(row.at_ms)}</td><td>${row.point}</td><td class="${effects.has(row.effect) ? row.effect : ''}">${row.effect}</td><td>${row.reasons.map(reason => html`<div>${reason.message} <code class="dim">${reason.rule}${reason.at === undefined ? '' : ` ${short(reason.at)}`}</code></div>`)}${row.code === 'policy' ? '' : html`<code>${row.code}</code>`}</td><td class="id">${row.id}</td></tr>`,
    )
  }

  recording(file: RecordingFile): void {
    this.#recordings.push({ file, rows: new Rows(most.events) })
  }

  /** Lines of a recording whose text may be given. */
  events(session: string, text: string): void {
    const rows = this.#recordings.find(one => one.file.session_id === session)?.rows
    for (const part of text.split('\n')) {
      if (part === '' || rows === undefined) continue
      rows.add(() => {
        const line = parseLine(part)
        const shown = eventText(line)
        this.#chars += shown.length
        return this.#chars > most.chars ? null : html`<tr><td>${time(line.at_ms)}</td><td><pre>${shown}</pre></td></tr>`
      })
    }
  }

  html(): string {
    const { deployment, by, at_ms, withheld, about } = this.#facts
    const title = `Evidence: ${this.#subject.name}, ${titleOf(about)}`
    return page(
      title,
      html`<h1>${title}</h1>
<p>Exported from <b>${deployment}</b> ${time(at_ms)} by ${by.name} (<code>${by.id}</code>), under decision <code>${this.#facts.decision_id}</code>. All times are UTC, of the database.</p>
<p class="note">This page is for reading; by itself it proves nothing. The files beside it do: <code>node verify.mjs BUNDLE.tar --key KEY</code>, or <code>sallyport verify BUNDLE.tar --key KEY</code>, with no network. Take the key, and best the verifier too, from somewhere else than this bundle.</p>
${withheld.length === 0 ? '' : html`<h2>Withheld from whoever exported it</h2><table>${withheld.map(one => html`<tr><th>${one.what}</th><td>${one.why}</td></tr>`)}</table>`}
<h2>Requests</h2>${this.#requests.length === 0 ? html`<p>None.</p>` : this.#requests}
<h2>Sessions</h2>${this.#sessions.length === 0 ? html`<p>None.</p>` : html`<table><tr><th>session</th><th>as</th><th>opened</th><th>ended</th><th>why</th><th>from</th></tr>${this.#sessions}</table>`}
<h2>Recordings</h2>${this.#recordings.length === 0 ? html`<p>None.</p>` : this.#recordings.map(recordingHtml)}
<h2>Decisions</h2>${this.#decisions.table(html`<tr><th>when</th><th>point</th><th>answer</th><th>why</th><th>decision</th></tr>`, 'decisions/')}
<h2>Events of the audit log</h2>${this.#events.table(html`<tr><th>when</th><th>entry</th><th>event</th><th>id</th><th>what it says</th></tr>`, 'log/')}`,
    )
  }
}

const effects: ReadonlySet<string> = new Set(['allow', 'deny', 'ask'])

/** Rows up to a bound, and how many there were. */
class Rows {
  readonly #most: number
  readonly #rows: Html[] = []
  #count = 0

  constructor(limit: number = most.rows) {
    this.#most = limit
  }

  add(make: () => Html | null): void {
    this.#count++
    const row = this.#rows.length < this.#most ? make() : null
    if (row !== null) this.#rows.push(row)
  }

  table(head: Html, folder: string): Html {
    if (this.#count === 0) return html`<p>None.</p>`
    const more = this.#count - this.#rows.length
    return html`<table>${head}${this.#rows}</table>${more === 0 ? '' : html`<p class="note">… and ${more} more, in the files of ${folder}</p>`}`
  }
}

function recordingHtml({ file, rows }: { readonly file: RecordingFile; readonly rows: Rows }): Html {
  const holds = file.holds.map(
    hold =>
      html`<p>Legal hold since ${time(hold.set_at_ms)}, by <code>${hold.set_by}</code>: <q>${hold.reason}</q>${hold.lifted_at_ms === null ? ', standing' : html`, lifted ${time(hold.lifted_at_ms)}`}.</p>`,
  )
  const said = {
    text: 'The events are here, and the sealed container that proves them.',
    sealed: 'The sealed container is here, without its keys.',
    none: 'It is not here.',
  }
  return html`<h3>${file.subject_name} as ${file.role} on ${file.resource}: ${file.state}</h3>
<p class="dim"><code>${file.session_id}</code>, begun ${time(file.started_at_ms)}</p>
<p>${said[file.given]} ${file.why === null ? '' : `${file.why}.`}</p>${holds}
${file.receipt === null ? '' : html`<pre>${JSON.stringify(file.receipt, null, 1)}</pre>`}
${file.given === 'text' ? rows.table(html`<tr><th>when</th><th>what happened</th></tr>`, `recordings/${file.session_id}/`) : ''}`
}

/** What an event says, without the bytes of terminals and the rows of results: those are in the files. */
function eventText(line: ReplayLine): string {
  const rows = line['values']
  const { data: _, values: __, ...rest } = line
  const note = Array.isArray(rows) ? `\n    (${rows.length} rows)` : ''
  return (renderLine(rest as ReplayLine).slice(0, most.eventChars) + note).replace(/^\d\d:\d\d:\d\d\.\d{3} /, '')
}

function facts(body: string | null): string {
  if (body === null) return '(erased)'
  const { id: _, ...rest } = JSON.parse(body) as Record<string, unknown>
  return Object.entries(rest)
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('\n')
    .slice(0, most.eventChars)
}

function titleOf(about: About): string {
  if ('session' in about) return `session ${about.session}`
  if ('request' in about) return `request ${about.request}`
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 16).replace('T', ' ')
  return `${day(about.from_ms)} to ${day(about.to_ms)} UTC`
}

const short = (at: string): string => at.replace(/@([0-9a-f]{12})[0-9a-f]+$/, '@$1')
