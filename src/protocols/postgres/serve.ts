import type { Socket } from 'node:net'
import type { Door, Opened } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { inTurn, offerCancel } from './cancel.ts'
import { type CatalogUser, catalogOf } from './catalogs.ts'
import { Conversation, idle } from './conversation.ts'
import { cancel, dial, type Upstream } from './dial.ts'
import { Judge } from './judging.ts'
import type { MessageStream } from './message-stream.ts'
import { errorResponse, frame, int32, noticeResponse, readyForQuery, S } from './messages.ts'
import { actsAs, type Options } from './options.ts'
import { Names, type Prepared } from './prepared.ts'
import { closeUpstream, runQuery } from './queries.ts'
import { Relay } from './relay.ts'
import { say } from './say.ts'
import { withoutLiterals } from './sql/literals.ts'
import { createNames } from './sql/names.ts'
import { fitPlan } from './sql/plan.ts'
import { scrubResponse } from './sql/scrub.ts'
import { isEmptyPath, pinnedSettings, watchedSettings } from './sql/settings.ts'
import type { Startup } from './startup.ts'

const log = logger('postgres')

/** From an opened session to its end: dials the target, fits the masking plan, tells the client it may begin, relays. */
export async function serve(
  client: Socket,
  messages: MessageStream,
  startup: Startup,
  door: Door,
  opened: Opened,
  ready: () => void,
): Promise<void> {
  const wanted = (opened.resource.options as Options).database
  if (startup.database !== '' && startup.database !== wanted && startup.database !== startup.user) {
    const words = `this ticket opens the database "${wanted}", not "${startup.database}"`
    await say(client, errorResponse('FATAL', '3D000', words, '', `connect to ${wanted}`))
    return await opened.close(words)
  }
  const { target, permit, credential, gate } = opened
  const upstream = await dial(permit, target, credential, settingsFor(startup, opened))
  const shared = catalogOf(opened)
  let joined: Disposable | undefined
  let offered: ReturnType<typeof offerCancel> | undefined
  try {
    const path = await runQuery(
      upstream,
      'select pg_catalog.unnest(pg_catalog.current_schemas(true)) as name',
      opened.resource.name,
    )
    const parts = { relay: undefined as Relay | undefined, refit: () => {} }
    const lender: CatalogUser = { opened, moved: () => parts.refit() }
    joined = await shared.join(lender)
    const statements = new Names<Prepared>()
    const sql = {
      analyzer: shared.analyzer(path.map(row => row['name'] ?? '')),
      names: createNames(),
      catalog: shared.catalog,
      fitPlan,
      withoutLiterals,
      emptyPath: { analyzer: shared.analyzer(['pg_catalog']), newNames: createNames },
    }
    const fitted = fitPlan(gate.rules(), shared.catalog.current(), gate.maskKey)
    if (!fitted.ok) throw new MaskingImpossible(fitted.reason)
    const judge = new Judge(sql, gate, fitted.plan, {
      statements: name => statementsNamed(statements, name),
      portal: name => conversation.portals.has(name, portal => portal.cursor === null),
    })
    const conversation = new Conversation(gate, judge, statements)
    offered = offerCancel(door, () => {
      conversation.judge.holding.cancel()
      if (conversation.pending.length > 0) cancelAt(opened, upstream)
    })
    const refit = () => refitTo(judge, conversation, gate, shared.catalog.current())
    judge.refit = refit
    gate.onRules(refit)
    parts.refit = () => {
      const why = refit()
      if (why !== undefined) parts.relay?.end(`the masking rules no longer fit the database: ${why}`)
    }
    const clientRest = messages.detach()
    client.write(welcome(upstream, offered.message))
    const relay = new Relay({
      client,
      clientRest,
      upstream: upstream.socket,
      upstreamRest: upstream.messages.detach(),
      conversation,
      ended: opened.ended,
      frameBytes: door.limits.frame_bytes,
      scrub: fields => (judge.plan.empty ? fields : scrubResponse(fields)),
      reported: (name, value) => drift(upstream, judge.path.moved, name, value),
      cancel: () => cancelAt(opened, upstream),
    })
    parts.relay = relay
    judge.holding.say = line => relay.tell(noticeResponse(`sallyport: ${line}`))
    ready()
    await opened.close(await relay.run())
  } catch (error) {
    closeUpstream(upstream)
    if (!(error instanceof MaskingImpossible)) throw error
    await say(
      client,
      errorResponse('FATAL', '57P03', error.message, '', 'ask a security engineer to look at the masking rules'),
    )
    await opened.close(error.message)
  } finally {
    joined?.[Symbol.dispose]()
    offered?.[Symbol.dispose]()
  }
}

class MaskingImpossible extends Error {
  constructor(reason: string) {
    super(`the masking rules cannot be carried out here: ${reason}`)
  }
}

function settingsFor(startup: Startup, { resource, role }: Opened): Record<string, string> {
  const pinned: Record<string, string> = {}
  // a startup parameter like the others: the target refuses the login where it cannot be, and a reset comes back to it
  const group = actsAs(resource.options as Options, role)
  if (group !== undefined) pinned['role'] = group
  for (const [name, value] of pinnedSettings) if (value !== null) pinned[name] = value
  return { ...startup.settings, application_name: startup.application, ...pinned }
}

/** AuthenticationOk, the target's own parameters, our cancel key, ReadyForQuery. */
function welcome(upstream: Upstream, key: Buffer): Buffer {
  const parameters = [...upstream.parameters].map(([name, value]) => frame(S.parameterStatus, name, 0, value, 0))
  return Buffer.concat([frame(S.authentication, int32(0)), ...parameters, key, readyForQuery(idle)])
}

function statementsNamed(statements: Names<Prepared>, name: string) {
  const prepared = statements.get(name)
  // one that is being closed may still be there: what is behind the name is not certain
  if (prepared === undefined) return statements.closing(name) ? [] : undefined
  return prepared.statement === null ? [] : [prepared.statement]
}

function refitTo(
  judge: Judge,
  conversation: Conversation,
  gate: Opened['gate'],
  snapshot: Parameters<typeof fitPlan>[1],
): string | undefined {
  const fitted = fitPlan(gate.rules(), snapshot, gate.maskKey)
  if (!fitted.ok) return fitted.reason
  if (judge.path.moved && !fitted.plan.empty)
    return 'columns are masked now, and this connection changed its search_path'
  judge.plan = fitted.plan
  judge.fittedTo = snapshot?.version ?? 0
  return conversation.refit()
}

/** PG15, PG16: how text is read must stay what the parser assumes; where names are looked up must stay what was analysed. */
function drift(upstream: Upstream, moved: boolean, name: string, value: string): string | undefined {
  const pinned = watchedSettings.get(name)
  if (pinned !== undefined && pinned !== value) return `the target changed the pinned setting ${name}`
  if (name === 'search_path' && upstream.parameters.get(name) !== value && !(moved && isEmptyPath(value)))
    return 'the target changed search_path'
  return undefined
}

function cancelAt(opened: Opened, upstream: Upstream): void {
  const { key } = upstream
  if (key === null) return
  inTurn(() => cancel(opened.permit, opened.target, key)).catch(error =>
    log.warn({ err: error, session_id: opened.session_id }, 'the target could not be asked to cancel'),
  )
}
