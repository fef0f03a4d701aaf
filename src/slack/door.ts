import { lt, sql } from 'drizzle-orm'
import type { Database } from '../db/database.ts'
import type { SlackDeps } from './deps.ts'
import type { Answer, DirectReceiver } from './receiver.ts'
import { slackSeen } from './schema.ts'
import { refusalOf, type SignedRequest } from './verify.ts'

export interface SlackRequest extends SignedRequest {
  readonly contentType: string | undefined
}

/**
 * The way of a request from Slack: signature and time, then once only, then the right workspace, then bolt.
 * INVARIANT: nothing is parsed before the signature over the raw bytes fits.
 */
export async function admit(deps: SlackDeps, receiver: DirectReceiver, request: SlackRequest): Promise<Answer> {
  const refusal = refusalOf(request, deps.signingSecret, deps.now())
  if (refusal !== null) {
    deps.logger.warn({ why: refusal }, 'a request that says it comes from Slack was refused')
    return { status: 401, body: { error: 'unauthenticated', message: refusal } }
  }
  const body = parse(request)
  if (body === null) return { status: 400, body: { error: 'bad_request', message: 'the body cannot be read' } }
  if (!(await isFirst(deps.database, request.signature!))) {
    deps.logger.warn('an exact repetition of a request from Slack had no effect')
    return { status: 200, body: null }
  }
  if (body['type'] === 'url_verification' && typeof body['challenge'] === 'string') {
    return { status: 200, body: { challenge: body['challenge'] } }
  }
  if ('ssl_check' in body) return { status: 200, body: null }
  const foreign = foreignTeam(body, deps.teamId)
  if (foreign !== null) {
    await deps.database.db.transaction(tx =>
      deps.audit.record(tx, { type: 'slack.refused', body: { why: 'another workspace', team_id: foreign } }),
    )
    return { status: 403, body: { error: 'policy_denied', message: 'this workspace is not connected to Sallyport' } }
  }
  return receiver.deliver(body)
}

/** Forgets signatures whose timestamps would be refused anyway. Call it every minute or so. */
export async function forgetSeen({ db }: Database): Promise<void> {
  await db.delete(slackSeen).where(lt(slackSeen.at, sql`now() - interval '15 minutes'`))
}

async function isFirst({ db }: Database, signature: string): Promise<boolean> {
  const rows = await db.insert(slackSeen).values({ signature }).onConflictDoNothing().returning()
  return rows.length === 1
}

function parse({ contentType, body }: SlackRequest): Record<string, unknown> | null {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')
  try {
    if (contentType?.startsWith('application/json')) return object(JSON.parse(text))
    if (!contentType?.startsWith('application/x-www-form-urlencoded')) return null
    const form = new URLSearchParams(text)
    const payload = form.get('payload')
    return payload === null ? Object.fromEntries(form) : object(JSON.parse(payload))
  } catch {
    return null
  }
}

function object(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null
}

/** A workspace that the request or its user belongs to and that is not ours, or null. A user of a shared channel may be foreign. */
function foreignTeam(body: Record<string, unknown>, ours: string): string | null {
  const inside = (key: string, member: string) => object(body[key])?.[member]
  const teams = [body['team_id'], inside('team', 'id'), inside('user', 'team_id')].filter(team => team !== undefined)
  if (teams.length === 0) return 'none'
  const foreign = teams.find(team => team !== ours)
  return foreign === undefined ? null : String(foreign).slice(0, 64)
}
