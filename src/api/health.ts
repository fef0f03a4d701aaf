import { BlockList, isIPv6 } from 'node:net'
import { Histogram, register } from 'prom-client'
import { Type as T } from 'typebox'
import { SallyportError } from '../errors.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'

const open = { guard: { point: 'open' }, rateLimit: false } as const

/** What machines ask: alive, ready, numbers, and the description of the API. */
export function healthRoutes(app: Api, deps: BaseDeps): void {
  app.get(
    '/healthz',
    { config: open, schema: { summary: 'Alive', response: { 200: T.Object({ status: T.String() }) } } },
    async () => ({
      status: 'ok',
    }),
  )

  app.get('/readyz', { config: open, schema: { summary: 'Ready for work, or why not' } }, async (_, reply) => {
    const state = deps.ready()
    if (state !== 'ready') return sendError(reply, 'not_ready', `this process is not ready: ${state}`)
    return { status: 'ready' }
  })

  const mayRead = blockList(['127.0.0.0/8', '::1', ...(deps.config.control.metrics_from ?? [])])
  app.get('/metrics', { config: open, schema: { summary: 'Numbers for Prometheus' } }, async (request, reply) => {
    // the peer itself, not what a header says of it: names of resources stand in the labels
    const peer = request.socket.remoteAddress ?? ''
    const forwarded = request.headers['x-forwarded-for'] !== undefined
    if (
      forwarded ||
      !mayRead.check(peer.replace(/^::ffff:(?=\d)/, ''), isIPv6(peer) && !/^::ffff:\d/.test(peer) ? 'ipv6' : 'ipv4')
    ) {
      return sendError(
        reply,
        'not_found',
        'there is nothing here for you',
        'add your address to `control.metrics_from`',
      )
    }
    return reply.type(register.contentType).send(await register.metrics())
  })

  app.get('/openapi.json', { config: { guard: open.guard }, schema: { hide: true } }, async () => app.swagger())

  const seconds = histogram()
  app.addHook('onResponse', async (request, reply) => {
    const labels = {
      route: request.routeOptions.url ?? 'none',
      method: request.method,
      status: String(reply.statusCode),
    }
    seconds.observe(labels, reply.elapsedTime / 1000)
  })
}

function histogram(): Histogram<'route' | 'method' | 'status'> {
  const name = 'sallyport_api_seconds'
  const known = register.getSingleMetric(name)
  if (known !== undefined) return known as Histogram<'route' | 'method' | 'status'>
  return new Histogram({
    name,
    help: 'Duration of API calls',
    labelNames: ['route', 'method', 'status'],
    buckets: [0.005, 0.025, 0.1, 0.5, 2.5],
  })
}

function blockList(blocks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const block of blocks) {
    const [address = '', bits] = block.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    try {
      if (bits === undefined) list.addAddress(address, family)
      else list.addSubnet(address, Number(bits), family)
    } catch (cause) {
      throw new SallyportError(
        'bad_config',
        `\`control.metrics_from\` holds ${block}, which is no address and no CIDR block`,
        { cause },
      )
    }
  }
  return list
}
