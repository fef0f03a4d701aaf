import type { Transport } from '../transport.ts'
import { field } from '../wire/fields.ts'
import type { Channel } from './channel.ts'
import { M, openMessage, readConfirmation, recipientOf, requestMessage } from './messages.ts'

const killAfterMs = 250
const cutAfterMs = 750
const window = 64 * 1024
/** A channel of our own, whose number no client's channel reaches. */
const own = 0xffff_fff0

/**
 * Ends every other process that sshd started for this connection, with its group: they are the children of the process
 * that started this one. In POSIX's words; it ends with itself left over.
 */
const sweep = `exec /bin/sh -c 'ps -A -o pid= -o ppid= | while read -r p q; do [ "$q" = "$PPID" ] && [ "$p" != "$$" ] && kill -s KILL -- "-$p"; done'`

/**
 * What still runs on the target when a session must end: TERM, then KILL, then the link is cut (LC1). For root, OpenSSH's
 * server carries out no signals, and a program without a terminal outlives its link: there, what is left is ended by a
 * command of ours on the same link.
 */
export function endPrograms(target: Transport, running: readonly Channel[], login: string): void {
  const left = new Map(running.map(channel => [channel.id, channel]))
  let cut = false
  target.unhold()
  const over = () => {
    if (cut) return
    cut = true
    clearTimeout(kill)
    clearTimeout(late)
    target.disconnect('')
  }
  target.read(payload => {
    const kind = payload[0]
    if (kind === M.openConfirmation && recipientOf(payload) === own)
      target.send(requestMessage(readConfirmation(payload).sender, 'exec', false, field(sweep)))
    if (kind !== M.close) return
    const id = recipientOf(payload)
    left.delete(id)
    if (left.size === 0 || id === own) over()
  })
  for (const channel of left.values()) signal(target, channel, 'TERM')
  const kill = setTimeout(() => {
    for (const channel of left.values()) signal(target, channel, 'KILL')
    if (login === 'root')
      target.send(openMessage({ type: 'session', sender: own, window, packet: 32_768, rest: Buffer.alloc(0) }))
  }, killAfterMs)
  const late = setTimeout(over, cutAfterMs)
  if (left.size === 0) over()
}

function signal(target: Transport, channel: Channel, name: string): void {
  if (channel.closeSent.target) return
  target.send(requestMessage(channel.numbers.target, 'signal', false, field(name)))
}
