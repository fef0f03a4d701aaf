import { randomBytes } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import { pagePolicy } from './headers.ts'

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem;color:#1a2130;background:#f6f7f9}
@media(prefers-color-scheme:dark){body{color:#e8ebf0;background:#14181f}}h1{font-size:1.25rem}
button,a.button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.5rem;background:#1c6dd0;color:#fff;cursor:pointer;text-decoration:none}
code{font-size:1.4rem;letter-spacing:.08em}a{color:inherit}`

/** Sends one of the few pages that are not part of the single-page application. `body` is HTML: escape what goes into it. */
export function sendPage(
  reply: FastifyReply,
  input: { status?: number; title: string; body: string; form?: string },
): FastifyReply {
  const nonce = randomBytes(16).toString('base64')
  const form = input.form === undefined ? {} : { form: input.form }
  return pagePolicy(reply, { nonce, ...form })
    .code(input.status ?? 200)
    .send(
      `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${escapeHtml(input.title)} · Sallyport</title><style nonce="${nonce}">${style}</style></head><body><h1>${escapeHtml(input.title)}</h1>${input.body}</body></html>`,
    )
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`)
}
