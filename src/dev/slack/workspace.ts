import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { devPeople } from '../idp/people.ts'

/** What the stand-in knows: people, channels, messages, open forms. Saved, so that a restart loses no message. */
export interface StandInUser {
  readonly id: string
  readonly name: string
  readonly real_name: string
  readonly title: string
}

export interface Channel {
  readonly id: string
  readonly name: string
  /** The person whose direct messages these are. */
  readonly im: string | null
}

export interface StoredMessage {
  readonly channel: string
  readonly ts: string
  text: string
  blocks: readonly Block[]
  edited: boolean
  /** Only this person sees it. */
  readonly ephemeral: string | null
}

export type Block = Readonly<Record<string, unknown>>

export interface OpenView {
  readonly id: string
  readonly user: string
  view: Block
  errors: Readonly<Record<string, string>>
}

export const users: readonly StandInUser[] = devPeople.map(person => ({
  id: `U0${person.sub.toUpperCase()}`,
  name: person.sub,
  real_name: person.name,
  title: person.title,
}))

const triggerLife_ms = 3000
const maxMessages = 2000

export class Workspace {
  readonly teamId: string
  readonly channels = new Map<string, Channel>()
  messages: StoredMessage[] = []
  readonly views = new Map<string, OpenView>()
  readonly #triggers = new Map<string, { user: string; until: number }>()
  readonly #file: string | null
  #lastTs = 0

  constructor(teamId: string, file: string | null) {
    this.teamId = teamId
    this.#file = file
    if (file !== null && existsSync(file)) {
      const saved = JSON.parse(readFileSync(file, 'utf8')) as { channels: Channel[]; messages: StoredMessage[] }
      for (const channel of saved.channels) this.channels.set(channel.id, channel)
      this.messages = saved.messages
    }
    if (this.channels.size === 0) this.channelNamed('general')
    for (const user of users) this.directWith(user.id)
  }

  user(id: string): StandInUser | undefined {
    return users.find(user => user.id === id)
  }

  /** A channel by its id or name. In this workspace a channel that policy names is there as soon as it is named. */
  channelNamed(name: string): Channel | undefined {
    const known = this.channels.get(name)
    if (known) return known
    const bare = name.replace(/^#/, '')
    if (!/^[a-z0-9_-]{1,80}$/.test(bare)) return undefined
    const found = [...this.channels.values()].find(channel => channel.im === null && channel.name === bare)
    return found ?? this.#keep({ id: `C${id()}`, name: bare, im: null })
  }

  directWith(user: string): Channel {
    return (
      [...this.channels.values()].find(channel => channel.im === user) ??
      this.#keep({ id: `D${id()}`, name: 'Sallyport', im: user })
    )
  }

  post(channel: string, text: string, blocks: readonly Block[], ephemeral: string | null = null): StoredMessage {
    this.#lastTs = Math.max(Date.now() * 1000, this.#lastTs + 1)
    const ts = `${Math.floor(this.#lastTs / 1e6)}.${String(this.#lastTs % 1e6).padStart(6, '0')}`
    const message = { channel, ts, text, blocks, edited: false, ephemeral }
    this.messages.push(message)
    if (this.messages.length > maxMessages) this.messages.splice(0, this.messages.length - maxMessages)
    this.save()
    return message
  }

  message(channel: string, ts: string): StoredMessage | undefined {
    return this.messages.find(message => message.channel === channel && message.ts === ts)
  }

  /** A permission to open one form within three seconds. */
  trigger(user: string): string {
    const trigger = `${Date.now()}.${id()}`
    this.#triggers.set(trigger, { user, until: Date.now() + triggerLife_ms })
    for (const [key, { until }] of this.#triggers) if (until < Date.now() - 60_000) this.#triggers.delete(key)
    return trigger
  }

  /** @returns whose trigger it was, or Slack's word for what is wrong with it. */
  takeTrigger(trigger: string): { user: string } | { error: string } {
    const found = this.#triggers.get(trigger)
    if (!found) return { error: 'invalid_trigger_id' }
    if (found.user === '') return { error: 'exchanged_trigger_id' }
    if (found.until < Date.now()) return { error: 'expired_trigger_id' }
    this.#triggers.set(trigger, { user: '', until: found.until })
    return { user: found.user }
  }

  openView(user: string, view: Block): OpenView {
    const open = { id: `V${id()}`, user, view, errors: {} }
    for (const [key, other] of this.views) if (other.user === user) this.views.delete(key)
    this.views.set(open.id, open)
    return open
  }

  viewOf(user: string): OpenView | undefined {
    return [...this.views.values()].find(view => view.user === user)
  }

  save(): void {
    if (this.#file === null) return
    const saved = { channels: [...this.channels.values()], messages: this.messages.filter(m => m.ephemeral === null) }
    writeFileSync(`${this.#file}.new`, JSON.stringify(saved), { mode: 0o600 })
    renameSync(`${this.#file}.new`, this.#file)
  }

  #keep(channel: Channel): Channel {
    this.channels.set(channel.id, channel)
    return channel
  }
}

export function id(): string {
  return randomBytes(5).toString('hex').toUpperCase()
}
