import { denial, refusedStatus } from '../deny.ts'
import { FieldError } from '../wire/fields.ts'
import type { Channel } from './channel.ts'
import type { Relay } from './relay.ts'

/** Reads what a channel carries. Where it makes no sense this channel alone is over, in words. @returns whether it did. */
export function orClose(relay: Relay, channel: Channel, rule: string, read: () => void): boolean {
  if (channel.state === 'refused') return false
  try {
    read()
    return true
  } catch (error) {
    if (!(error instanceof FieldError)) throw error
    const message = `the channel is closed: ${error.message}`
    relay.refuse({ rule, message, text: null })
    channel.state = 'refused'
    relay.lanes.client.push(() =>
      relay.channels.refuse(channel, denial({ message, detail: '', remedy: '' }), refusedStatus),
    )
    return false
  }
}
