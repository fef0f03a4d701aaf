import type { FastifyReply } from 'fastify'
import type { Api } from './deps.ts'

/** What an answer may do in a browser: nothing. Pages widen it with `pagePolicy`. */
const nothing = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

/** Security headers on every answer. */
export function installHeaders(app: Api, origin: string): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({
      'content-security-policy': nothing,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'same-origin', // `no-referrer` would turn the Origin of our own forms into `null`
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-store',
      'x-request-id': request.id,
      ...(origin.startsWith('https:') ? { 'strict-transport-security': 'max-age=31536000' } : {}),
    })
  })
}

/** The policy of a page: scripts from our own files only; styles from our files, and those with this answer's nonce. */
export function pagePolicy(reply: FastifyReply, options: { nonce: string; form?: string }): FastifyReply {
  const sources = [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${options.nonce}'`,
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    `form-action 'self'${options.form === undefined ? '' : ` ${options.form}`}`,
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ]
  return reply.header('content-security-policy', sources.join('; ')).type('text/html; charset=utf-8')
}
