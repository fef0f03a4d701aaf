import type { Api, BaseDeps } from './deps.ts'

/** Slack's requests as the room that answers them wants them: raw, because the signature is over the bytes. */
export interface SlackHandler {
  handle(request: {
    readonly timestamp: string | undefined
    readonly signature: string | undefined
    readonly contentType: string | undefined
    readonly body: Uint8Array
  }): Promise<{ readonly status: number; readonly body: unknown }>
}

export interface SlackRouteDeps extends BaseDeps {
  readonly slack?: SlackHandler | undefined
}

const maxBody = 128 * 1024

/** One door for commands, forms, clicks and events: Slack's settings may name any of these addresses. */
export function slackRoutes(app: Api, deps: SlackRouteDeps): void {
  const { slack } = deps
  if (slack === undefined) return
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: maxBody }, (_request, body, parsed) =>
      parsed(null, body),
    )
    for (const url of ['/slack/events', '/slack/commands', '/slack/actions']) {
      scope.post(url, { config: { guard: { point: 'open' } }, schema: { hide: true } }, async (request, reply) => {
        const header = (name: string) => {
          const value = request.headers[name]
          return typeof value === 'string' ? value : undefined
        }
        const answer = await slack.handle({
          timestamp: header('x-slack-request-timestamp'),
          signature: header('x-slack-signature'),
          contentType: header('content-type'),
          body: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
        })
        reply.code(answer.status).header('cache-control', 'no-store')
        return answer.body === null ? reply.send() : reply.type('application/json').send(answer.body)
      })
    }
    done()
  })
}
