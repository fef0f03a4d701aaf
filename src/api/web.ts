import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join, normalize } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'
import { pagePolicy } from './headers.ts'

/** Paths that are never pages of the web UI: what is not found below them is an error, not the application. */
const notPages = /^\/(?:api|auth|slack|assets)(?:\/|$)|\.[a-z0-9]+$/i

/** The built single-page application. Each page is its index, with a nonce for the styles that the UI library adds. */
export function webRoutes(app: Api, deps: BaseDeps): void {
  const root = deps.web
  if (root === undefined || !existsSync(join(root, 'index.html'))) return
  const index = readFileSync(join(root, 'index.html'), 'utf8')
  app.register(fastifyStatic, { root, serve: false })

  app.get('/*', { config: { guard: { point: 'open' } }, schema: { hide: true } }, async (request, reply) => {
    const file = fileOf(request, root)
    if (file !== null) return asset(reply, file)
    const path = request.url.split('?', 1)[0]!
    if (notPages.test(path))
      return sendError(
        reply,
        'not_found',
        `there is no GET ${path.slice(0, 200)}`,
        'look at /openapi.json for what there is',
      )
    const nonce = randomBytes(16).toString('base64')
    return pagePolicy(reply, { nonce }).send(
      index.replace('<head>', `<head><meta name="csp-nonce" content="${nonce}">`),
    )
  })
}

function asset(reply: FastifyReply, file: string): FastifyReply {
  // files below assets/ carry the hash of their content in their names
  const forEver = file.startsWith('assets/')
  return reply.sendFile(file, { maxAge: forEver ? '365d' : '1h', immutable: forEver, cacheControl: true })
}

/** The file that a path names below the root; null when there is none. */
function fileOf(request: FastifyRequest, root: string): string | null {
  const path = (request.params as { '*': string })['*']
  const file = normalize(path)
  if (file !== path || file === '.' || file === 'index.html' || file.startsWith('..') || file.includes('\0'))
    return null
  return statSync(join(root, file), { throwIfNoEntry: false })?.isFile() === true ? file : null
}
