import type { ReadEvent, Reading, Readings } from '../recording/reading.ts'

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** How the gate's own events read, whatever protocol they belong to. */
export const gateReadings: Readings = {
  connected: event => {
    const { role, resource, address, application } = event
    const from = text(address) === '' ? '' : ` from ${text(address)}`
    const client = text(application) === '' ? '' : ` with ${text(application)}`
    return said(`connected to ${text(resource)} as ${text(role)}${from}${client}`)
  },
  disconnected: event => said(`disconnected: ${text(event['reason'])}`),
  held: event => ({
    ...said(`waits for approval: ${text(event['title'])}`, 'warn'),
    parts: [{ label: 'request', tone: 'plain', rows: [[text(event['hold'])]], more: 0 }],
  }),
  approval: event => said(text(event['words']), 'warn'),
  refused: event => ({
    ...said(`refused: ${text(event['message'])}`, 'bad'),
    parts: [{ label: 'rule', tone: 'plain', rows: [[text(event['rule'])]], more: 0 }],
  }),
}

function said(title: string, tone: Reading['tone'] = 'plain'): Reading {
  return { title, tone, marks: [], parts: [] }
}

/** What the gate says of a decision, for protocols that say the rest: rules with their place, and what to do next. */
export function decidedParts(event: ReadEvent): Reading['parts'] {
  const row = (label: string, value: unknown): Reading['parts'] =>
    text(value) === '' ? [] : [{ label, tone: 'plain', rows: [[text(value)]], more: 0 }]
  return [
    ...row('rule', event['rule']),
    ...row('what to do', event['remedy']),
    ...row('request', event['hold']),
    ...row('decision', event['decision']),
  ]
}
