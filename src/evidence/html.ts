import { createHash } from 'node:crypto'
import { plain } from '../recording/render.ts'

/** HTML that was built here. Text gets into it through `html` alone, which makes it harmless. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

const marks: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** Text as HTML shows it: no mark-up, no control character, no character that turns the line around. */
export function escaped(value: unknown): string {
  const text = typeof value === 'string' ? value : value === null || value === undefined ? '' : String(value)
  return text
    .split('\n')
    .map(line => plain(line.isWellFormed() ? line : line.toWellFormed()).replace(/[&<>"']/g, mark => marks[mark]!))
    .join('\n')
}

/** A template: what stands in `${}` is text, unless it is `Html` or a list of it. */
export function html(parts: TemplateStringsArray, ...values: readonly unknown[]): Html {
  const shown = (value: unknown): string => {
    if (value instanceof Html) return value.text
    return Array.isArray(value) ? value.map(shown).join('') : escaped(value)
  }
  return new Html(parts.reduce((all, part, i) => all + shown(values[i - 1]) + part))
}

const style = `:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1.5rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #8886}h3{font-size:1rem;margin:1.4rem 0 .3rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25rem .7rem .25rem 0;border-bottom:1px solid #8883;overflow-wrap:anywhere}
th{font-weight:600;white-space:nowrap}time,code,pre,td.id{font-family:ui-monospace,monospace;font-size:.86em}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
.dim{opacity:.7}.deny{color:#c22;font-weight:600}.ask{color:#a60;font-weight:600}.allow{color:#187a3d;font-weight:600}.note{background:#8882;padding:.6rem .9rem;border-radius:.4rem}`

/** The beginning of a page that loads nothing and runs nothing, wherever it is opened: its policy stands in itself. */
export function pageHead(title: string): string {
  const hash = createHash('sha256').update(style).digest('base64')
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title><style>${style}</style></head>
<body>`
}

export const pageEnd = '</body></html>\n'

export const page = (title: string, body: Html): string => `${pageHead(title)}${body.text}${pageEnd}`

/** An instant as a person reads it, in UTC. */
export function time(ms: unknown): Html {
  if (typeof ms !== 'number' || !Number.isFinite(ms)) return html``
  const text = new Date(ms).toISOString()
  return html`<time datetime="${text}">${text.replace('T', ' ').slice(0, 19)}</time>`
}
