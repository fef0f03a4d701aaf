import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect } from 'vitest'
import type { BaseDeps } from '../../src/api/deps.ts'
import { buildServer } from '../../src/api/server.ts'
import { slackRoutes } from '../../src/api/slack.ts'
import { readRequest } from '../../src/approvals/view.ts'
import { freePort } from '../../src/db/loopback.ts'
import { type SlackStandIn, startSlackStandIn } from '../../src/dev/slack/stand-in.ts'
import type { StoredMessage } from '../../src/dev/slack/workspace.ts'
import { createIdentity } from '../../src/identity/identity.ts'
import { createRootKey } from '../../src/keys.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { Secret } from '../../src/secret.ts'
import type { SlackDeps } from '../../src/slack/deps.ts'
import { optionOf } from '../../src/slack/modal.ts'
import { createSlack } from '../../src/slack/slack.ts'
import { compileWith, createWorld, type Edit } from '../approvals/world.ts'

export const teamId = 'T0TEST'

/** Real approvals, engine, database and HTTP route; Slack itself is the stand-in. */
export async function slackWorld(...edits: Edit[]) {
  const world = await createWorld()
  await world.activate(await compileWith(...edits))
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const signingSecret = new Secret('signing-secret-of-the-tests')
  const botToken = new Secret('xoxb-of-the-tests')
  const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-slack-'))
  const standIn = await startSlackStandIn({
    port: 0,
    signingSecret,
    botToken,
    teamId,
    eventsUrl: `${origin}/slack/events`,
    dataDir,
  })
  const { ground } = world
  const identity = createIdentity({
    database: ground.database,
    audit: ground.audit,
    root: createRootKey(join(dataDir, 'control.key')),
    config: {
      origin,
      oidc: {
        issuer: 'http://127.0.0.1:1',
        client_id: 'x',
        groups_claim: 'groups',
        scopes: 'openid',
        refresh_s: 60,
        max_groups_age_s: 3600,
        allow_http: true,
      },
    },
    ports: { liveSubjects: async () => [], onGroupsChanged: () => {} },
  })
  let clockOff_ms = 0
  const now = () => Date.now() + clockOff_ms
  const slackDeps: SlackDeps = {
    signingSecret,
    botToken,
    teamId,
    apiUrl: standIn.apiUrl,
    origin,
    zone: 'UTC',
    database: ground.database,
    approvals: world.approvals,
    identity,
    resources: ground.resources,
    engine: ground.engine,
    decisions: ground.decisionLog,
    audit: ground.audit,
    logger: pino({ level: process.env['SALLYPORT_LOG_LEVEL'] ?? 'silent' }),
    now,
  }
  const slack = createSlack(slackDeps)
  const deps = {
    config: { origin, deployment: 'test', zone: 'UTC', control: {}, oidc: {} },
    database: ground.database,
    identity,
    engine: ground.engine,
    decisions: ground.decisionLog,
    now,
    ready: () => 'ready',
    slack,
  } as unknown as BaseDeps & { slack: typeof slack }
  const app = await buildServer(deps, [slackRoutes])
  await app.listen({ host: '127.0.0.1', port })

  /** Somebody of the stand-in's five people, bound the way people bind: a code of the web page, typed into Slack. */
  async function bound(user: string, groups: string[]): Promise<SubjectFacts> {
    const facts = await world.person(user.slice(2).toLowerCase(), groups)
    const { code } = await identity.createLinkCode(facts.id)
    await standIn.command(user, `/access link ${code}`)
    expect(await identity.bySlack(teamId, user)).toMatchObject({ id: facts.id })
    return facts
  }

  /** Asks as somebody through the form. @returns the id of the request. */
  async function askInSlack(user: string, change: Record<string, string> = {}): Promise<string> {
    const before = standIn.view(user)?.id
    await standIn.command(user, '/access')
    await expect.poll(() => standIn.view(user)?.id).not.toBe(before)
    await standIn.submitView(user, {
      resource: optionOf('shop-db'),
      role: optionOf('reader'),
      duration: '3600',
      reason: 'look into order 4711',
      ticket: '',
      ...change,
    })
    const [row] = await world.test.database.sql<{ id: string }[]>`select id from requests order by id desc limit 1`
    return row!.id
  }

  return {
    ...world,
    identity,
    slack,
    deps: slackDeps,
    standIn,
    origin,
    bound,
    askInSlack,
    signingSecret,
    setClock: (ms: number) => (clockOff_ms = ms),
    request: async (id: string) => (await readRequest(world.db, id))!,
    inChannel: () => standIn.messages({ channel: 'db-approvals' }),
    /** The message with the buttons of this request, once it is there. */
    posted: async (id: string, stage = 0): Promise<StoredMessage> => {
      let found: StoredMessage | undefined
      await expect
        .poll(async () => {
          const [row] = await world.test.database.sql<{ channel: string; ts: string }[]>`
            select channel, ts from slack_messages where request_id = ${id} and purpose = ${`approvers:${stage}`} and ts is not null`
          found = row && standIn.messages().find(m => m.channel === row.channel && m.ts === row.ts)
          return found
        })
        .toBeDefined()
      return found!
    },
    /** What only this person was told, newest last. */
    told: (user: string): string[] =>
      standIn
        .messages({ user })
        .filter(m => m.ephemeral === user)
        .map(textOf),
    close: async () => {
      await app.close()
      await standIn.stop()
      await world.drop()
    },
  }
}

export type SlackWorld = Awaited<ReturnType<typeof slackWorld>>

/** Everything that a message shows, in one text. */
export function textOf(message: Pick<StoredMessage, 'text' | 'blocks'>): string {
  const texts: string[] = []
  const walk = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(walk)
    else if (typeof value === 'object' && value !== null) {
      for (const [key, member] of Object.entries(value)) {
        if (key === 'text' && typeof member === 'string') texts.push(member)
        else walk(member)
      }
    }
  }
  walk(message.blocks)
  return texts.join('\n') || message.text
}

export const hasButtons = (message: Pick<StoredMessage, 'blocks'>): boolean =>
  message.blocks.some(block => block['type'] === 'actions')

export type { SlackStandIn }
