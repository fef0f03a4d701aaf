import { SallyportError } from '../errors.ts'
import { Throttle } from '../identity/throttle.ts'
import { logger } from '../log.ts'
import { isWebhookSender, verifyWebhook, type WebhookSecrets } from '../policy/repository/webhooks.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'

export interface WebhookDeps extends BaseDeps {
  readonly webhooks: {
    readonly secrets: WebhookSecrets
    /** Makes whoever follows the repository look at it. */
    readonly look: () => Promise<void>
  }
}

const log = logger('api')
/** More than a push of some hundred commits has; what is larger is found by the next poll. */
const maxBody = 1024 * 1024
const looksAMinute = 60
const failuresAMinute = 30

/** Git servers say that something was pushed. INVARIANT: all that it does is a look that would have come anyway. */
export function webhookRoutes(app: Api, deps: WebhookDeps): void {
  const { secrets, look } = deps.webhooks
  if (Object.keys(secrets).length === 0) return
  const looks = new Throttle({ limit: looksAMinute, window_ms: 60_000 })
  const failures = new Throttle({ limit: failuresAMinute, window_ms: 60_000 })
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: maxBody }, (_request, body, parsed) =>
      parsed(null, body),
    )
    scope.post<{ Params: { sender: string } }>(
      '/api/policy/webhook/:sender',
      { bodyLimit: maxBody, config: { guard: { point: 'open' } }, schema: { hide: true } },
      async (request, reply) => {
        const { sender } = request.params
        const header = (name: string) => {
          const value = request.headers[name]
          return typeof value === 'string' ? value : undefined
        }
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
        const good =
          isWebhookSender(sender) && verifyWebhook(sender, secrets, { header, body, now_ms: deps.now() }) === true
        if (!good) {
          if (!failures.take(request.ip))
            return sendError(reply, 'rate_limited', 'too many calls without a good signature')
          log.warn({ sender: sender.slice(0, 32), ip: request.ip }, 'a webhook without a good signature')
          return sendError(
            reply,
            'unauthenticated',
            'this webhook has no good signature',
            'set the secret of policy.webhooks on the git server too, and check both clocks',
          )
        }
        if (!looks.take(sender)) return sendError(reply, 'rate_limited', 'the repository is looked at often enough')
        await look().catch((cause: unknown) => {
          throw new SallyportError('not_ready', 'nobody could be woken; the next poll finds what was pushed', { cause })
        })
        return reply.code(202).send({ status: 'looking' })
      },
    )
    done()
  })
}
