import { ErrorCode, type WebClient } from '@slack/web-api'
import { and, eq, sql } from 'drizzle-orm'
import { Rounds } from '../rounds.ts'
import type { Message } from './blocks.ts'
import type { SlackDeps } from './deps.ts'
import { slackMessages } from './schema.ts'

type Row = typeof slackMessages.$inferSelect

const claim_s = 60
const maxWait_s = 300
const maxAttempts = 300 // a day of tries
const page = 20

/** Answers to an update after which the message cannot be changed by anybody. */
const lost = new Set([
  'message_not_found',
  'cant_update_message',
  'edit_window_closed',
  'channel_not_found',
  'is_archived',
])

/**
 * Brings Slack to what `slack_messages` wants, with patience: a message that cannot be delivered waits, and nothing else
 * waits for it. A row is claimed for a minute, so that any number of processes may deliver.
 */
export class Outbox {
  readonly #deps: SlackDeps
  readonly #client: WebClient
  readonly #rounds = new Rounds(() => this.#deliver())
  #pausedUntil = 0

  constructor(deps: SlackDeps, client: WebClient) {
    this.#deps = deps
    this.#client = client
  }

  /** Delivers what is due. */
  deliverDue(): Promise<void> {
    return this.#rounds.run()
  }

  async #deliver(): Promise<void> {
    for (let more = true; more; ) {
      if (Date.now() < this.#pausedUntil) return
      const rows = await this.#claim()
      for (const row of rows) {
        if (Date.now() < this.#pausedUntil)
          await this.#postpone(row, (this.#pausedUntil - Date.now()) / 1000, 'rate limited')
        else await this.#bring(row)
      }
      more = rows.length === page
    }
  }

  async #claim(): Promise<Row[]> {
    const { db } = this.#deps.database
    const due = db
      .select({ request_id: slackMessages.request_id, purpose: slackMessages.purpose })
      .from(slackMessages)
      .where(
        sql`${slackMessages.shown} is distinct from ${slackMessages.wanted} and ${slackMessages.next_try_at} <= now() and ${slackMessages.attempts} < ${maxAttempts}`,
      )
      .orderBy(slackMessages.next_try_at)
      .limit(page)
      .for('update', { skipLocked: true })
    return await db
      .update(slackMessages)
      .set({ next_try_at: sql`now() + make_interval(secs => ${claim_s})` })
      .where(sql`(${slackMessages.request_id}, ${slackMessages.purpose}) in (${due})`)
      .returning()
  }

  async #bring(row: Row): Promise<void> {
    try {
      const place = row.ts === null ? await this.#post(row) : await this.#update(row, row.ts)
      await this.#set(row, { ...place, shown: row.wanted, attempts: 0, last_error: null, next_try_at: sql`now()` })
    } catch (error) {
      const { wait_s, message, gone } = judge(error, row.attempts)
      if (gone && row.ts !== null) {
        await this.#set(row, { shown: row.wanted, last_error: message })
        this.#deps.logger.warn(
          { request: row.request_id, why: message },
          'a message in Slack cannot be changed any more',
        )
        return
      }
      if (isRateLimited(error)) this.#pausedUntil = Date.now() + wait_s * 1000
      await this.#postpone(row, wait_s, message)
      this.#deps.logger.warn(
        { request: row.request_id, purpose: row.purpose, attempts: row.attempts + 1, wait_s, why: message },
        'a message could not be delivered to Slack; it is tried again',
      )
    }
  }

  async #post(row: Row): Promise<{ channel: string; ts: string }> {
    const channel = /^[UW][A-Z0-9]{2,}$/.test(row.channel) ? await this.#conversation(row.channel) : row.channel
    const answer = await this.#client.chat.postMessage({ channel, ...quiet(wantedOf(row)) })
    if (!answer.ts || !answer.channel) throw new Error('Slack did not say where it put the message')
    return { channel: answer.channel, ts: answer.ts }
  }

  async #update(row: Row, ts: string): Promise<Record<string, never>> {
    await this.#client.chat.update({ channel: row.channel, ts, ...quiet(wantedOf(row)) })
    return {}
  }

  async #conversation(user: string): Promise<string> {
    const { channel } = await this.#client.conversations.open({ users: user })
    if (!channel?.id) throw new Error('Slack opened no conversation')
    return channel.id
  }

  #postpone(row: Row, wait_s: number, message: string): Promise<void> {
    return this.#set(row, {
      attempts: row.attempts + 1,
      last_error: message,
      next_try_at: sql`now() + make_interval(secs => ${Math.max(1, Math.ceil(wait_s))})`,
    })
  }

  async #set(row: Row, change: Parameters<ReturnType<typeof this.table>['set']>[0]): Promise<void> {
    await this.table()
      .set(change)
      .where(and(eq(slackMessages.request_id, row.request_id), eq(slackMessages.purpose, row.purpose)))
  }

  private table() {
    return this.#deps.database.db.update(slackMessages)
  }
}

/** No mention, link preview or formatting may come out of a text. */
export function quiet(message: Message) {
  return {
    ...message,
    mrkdwn: false,
    link_names: false,
    parse: 'none' as const,
    unfurl_links: false,
    unfurl_media: false,
  }
}

function isRateLimited(error: unknown): error is { retryAfter: number } {
  return (error as { code?: unknown }).code === ErrorCode.RateLimitedError
}

/** How long to wait: what Slack asks for, else 2, 4, 8 … seconds up to five minutes. */
function judge(error: unknown, attempts: number): { wait_s: number; message: string; gone: boolean } {
  if (isRateLimited(error)) {
    const wait_s = Math.min(Math.max(error.retryAfter, 1), 3600)
    return { wait_s, message: `Slack asks us to wait ${wait_s} s`, gone: false }
  }
  const said = (error as { data?: { error?: unknown } }).data?.error
  const message = typeof said === 'string' ? said : (error as Error).message
  return { wait_s: Math.min(2 ** (attempts + 1), maxWait_s), message: message.slice(0, 300), gone: lost.has(message) }
}

function wantedOf(row: Row): Message {
  return JSON.parse(row.wanted) as Message
}
