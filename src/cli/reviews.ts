import type { ReviewEntry } from '../api/reviews.ts'
import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, plain, say, table } from './output.ts'

/** Lists what has to be looked at. */
export async function listReviews(client: Client, options: { all?: boolean }): Promise<void> {
  const { items } = await client.get<{ items: ReviewEntry[] }>(`/api/reviews${options.all ? '' : '?state=open'}`)
  table(
    ['review', 'state', 'due', 'who', 'role', 'resource', 'sessions', 'reason'],
    items.map(r => [
      r.id,
      r.state,
      instant(r.due_at_ms),
      r.subject.name,
      r.role,
      r.resource,
      String(r.sessions.length),
      r.reason,
    ]),
    options.all ? 'No reviews about you, and none that you are to answer.' : 'Nothing waits for a review.',
  )
}

/** Shows one review, or answers it. */
export async function review(
  client: Client,
  id: string,
  options: { accept?: boolean; flag?: boolean; reason?: string },
): Promise<void> {
  const path = `/api/reviews/${encodeURIComponent(id)}`
  if (options.accept && options.flag)
    throw new SallyportError('bad_request', 'a review is accepted or flagged, not both', { remedy: 'choose one' })
  const seen = await client.get<ReviewEntry>(path)
  show(seen)
  const answer = options.accept ? 'accept' : options.flag ? 'flag' : undefined
  if (answer === undefined) {
    if (seen.answer === null)
      say(`\nAnswer with: sallyport review ${plain(seen.id)} --accept --reason "…"   (or --flag)`)
    return
  }
  if (options.reason === undefined)
    throw new SallyportError('bad_request', 'an answer says why', {
      remedy: 'add --reason "what you looked at, and what you found"',
    })
  const after = await client.post<ReviewEntry>(`${path}/answer`, { answer, reason: options.reason })
  say(`\nThe review is ${after.state}.`)
}

function show(r: ReviewEntry): void {
  const { name, email } = r.subject
  const who = `${plain(name)}${email === null ? '' : ` <${plain(email)}>`}`
  const has = r.ends_at_ms > Date.now() ? 'has' : 'had'
  say(
    `${who} ${has} ${plain(r.role)} on ${plain(r.resource)} from ${instant(r.opened_at_ms)} until ${instant(r.ends_at_ms)}`,
  )
  say(`  reason     ${plain(r.reason)}`)
  say(`  state      ${plain(r.state)}, due ${instant(r.due_at_ms)}`)
  say(`  reviewers  ${r.reviewers.map(plain).join(', ')}`)
  if (r.sessions.length === 0) say('  sessions   none')
  for (const session of r.sessions) say(`  session    ${plain(session)}   (sallyport replay ${plain(session)})`)
  if (r.answer !== null)
    say(
      `  answer     ${plain(r.answer.answer)} by ${plain(r.answer.by.name)}, ${instant(r.answer.at_ms)}: ${plain(r.answer.reason)}`,
    )
}
