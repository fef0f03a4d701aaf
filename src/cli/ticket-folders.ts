import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { configFolder } from './profile.ts'

/** Asked about in one run, so that a full folder does not make a command slow. */
const mostAsked = 16
/** Of another sign-in, or of an older version: nobody here can say whether it still opens something. */
const forgottenMs = 7 * 24 * 3600 * 1000

/** Whose tickets a folder holds: only that sign-in may ask about them. */
export interface TicketHolder {
  readonly origin: string
  readonly profile: string
}

interface Label extends TicketHolder {
  readonly id: string
}

const place = () => join(configFolder(), 'tickets')
const labelOf = (folder: string) => join(folder, 'ticket.json')

/** A folder (0700) of one ticket, which says whose it is. Whoever uses it removes it; what is left, `sweepTickets` does. */
export function makeTicketFolder(holder: TicketHolder, id: string): string {
  mkdirSync(place(), { recursive: true, mode: 0o700 })
  const folder = mkdtempSync(join(place(), 'ticket-'))
  const label: Label = { origin: holder.origin, profile: holder.profile, id }
  writeFileSync(labelOf(folder), `${JSON.stringify(label)}\n`, { mode: 0o600 })
  return folder
}

/** Removes what `connect --print` and clients that were killed have left of tickets that open nothing any more. */
export async function sweepTickets(holder: TicketHolder, opens: (id: string) => Promise<boolean>): Promise<void> {
  const ours: { readonly folder: string; readonly id: string }[] = []
  for (const folder of foldersOf(place())) {
    const label = readLabel(folder)
    if (label?.origin === holder.origin && label.profile === holder.profile) ours.push({ folder, id: label.id })
    else if (ageMs(folder) > forgottenMs) remove(folder)
  }
  const oldest = ours.sort((a, b) => ageMs(b.folder) - ageMs(a.folder)).slice(0, mostAsked)
  await Promise.all(
    oldest.map(async ({ folder, id }) => {
      if (!(await opens(id).catch(() => true))) remove(folder)
    }),
  )
}

function foldersOf(parent: string): string[] {
  if (!existsSync(parent)) return []
  return readdirSync(parent)
    .filter(name => name.startsWith('ticket-'))
    .map(name => join(parent, name))
}

function readLabel(folder: string): Label | undefined {
  try {
    const label = JSON.parse(readFileSync(labelOf(folder), 'utf8')) as Partial<Label>
    const { origin, profile, id } = label
    if (typeof origin === 'string' && typeof profile === 'string' && /^tkt_\w+$/.test(id ?? '')) return label as Label
  } catch {}
  return undefined
}

function ageMs(folder: string): number {
  return Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
}

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}
