import type { Transport } from '../transport.ts'
import { field } from '../wire/fields.ts'
import type { Channel } from './channel.ts'
import { M, recipientOf, requestMessage } from './messages.ts'

const killAfterMs = 250
const cutAfterMs = 750

/**
 * What still runs on the target when a session must end: TERM, then KILL, then the link is cut (LC1); at once where
 * nothing is left. OpenSSH's server carries out signals for every login but root's.
 */
export function endPrograms(target: Transport, running: readonly Channel[]): void {
  const left = new Map(running.map(channel => [channel.id, channel]))
  const over = () => {
    clearTimeout(kill)
    clearTimeout(late)
    target.disconnect('')
  }
  target.unhold()
  target.read(payload => {
    if (payload[0] === M.close && left.delete(recipientOf(payload)) && left.size === 0) over()
  })
  const signal = (name: string) => {
    for (const { closeSent, numbers } of left.values())
      if (!closeSent.target) target.send(requestMessage(numbers.target, 'signal', false, field(name)))
  }
  signal('TERM')
  const kill = setTimeout(signal, killAfterMs, 'KILL')
  const late = setTimeout(over, cutAfterMs)
  if (left.size === 0) over()
}
