import type { KnownBlock, View } from '@slack/web-api'
import { bounds } from '../approvals/bounds.ts'
import type { ReviewView } from '../approvals/review-view.ts'
import type { ReviewAnswer } from '../approvals/schema.ts'
import { isId } from '../ids.ts'
import { context, cut, escaped, fields, instant, type Message, plain, quote, section } from './blocks.ts'

export const reviewForm = 'review'
const buttons: Readonly<Record<string, ReviewAnswer>> = { review_accept: 'accept', review_flag: 'flag' }

/** What a button of a review says. Nothing in it is believed. */
export function parseReviewButton(action_id: string, value: string | undefined) {
  const answer = Object.hasOwn(buttons, action_id) ? buttons[action_id] : undefined
  return answer !== undefined && value !== undefined && isId('rvw', value) ? { answer, review_id: value } : null
}

/** What the reviewers see: who had what, why they said, what to look at, and two buttons while nobody answered. */
export function reviewMessage(
  review: ReviewView,
  options: { readonly zone: string; readonly origin: string },
): Message {
  const { zone, origin } = options
  const { name, email } = review.subject
  const who = email === null ? name : `${name} (${email})`
  const title = `To be reviewed: ${name} had ${review.role} on ${review.resource}`
  const blocks: KnownBlock[] = [
    { type: 'header', text: plain(title, 150) },
    fields([
      ['Who', review.on_behalf_of === null ? who : `${who}, for ${review.on_behalf_of}`],
      ['What', `${review.role} on ${review.resource}`],
      ['From', instant(review.opened_at_ms, zone)],
      ['Until', instant(review.ends_at_ms, zone)],
    ]),
    section('Why, in their own words:'),
    quote(review.reason),
  ]
  if (review.answer === null) {
    blocks.push(
      section(`Watch what they did, then say what you found: ${origin}/reviews or sallyport review ${review.id}`),
      answerButtons(review),
      context(`${review.reviewers.join(', ')} · due ${instant(review.due_at_ms, zone)}`),
    )
  } else blocks.push(...outcome(review, zone))
  return { text: escaped(cut(title, 300)), blocks }
}

/** What is said once more when nobody answered in time. */
export function overdueMessage(
  review: ReviewView,
  options: { readonly zone: string; readonly origin: string },
): Message {
  const { zone, origin } = options
  const title = `Overdue: nobody has reviewed ${review.role} on ${review.resource}, which ${review.subject.name} had`
  const blocks: KnownBlock[] = [
    section(title),
    ...(review.answer === null
      ? [
          answerButtons(review),
          context(`${review.reviewers.join(', ')} · was due ${instant(review.due_at_ms, zone)} · ${origin}/reviews`),
        ]
      : outcome(review, zone)),
  ]
  return { text: escaped(cut(title, 300)), blocks }
}

/** A flag is news: a changed message wakes nobody. */
export function flaggedMessage(review: ReviewView, zone: string): Message {
  const title = `Flagged: what ${review.subject.name} did as ${review.role} on ${review.resource}`
  return { text: escaped(cut(title, 300)), blocks: [section(title), ...outcome(review, zone)] }
}

/** Asks for the words that an answer takes. */
export function reviewModal(review: ReviewView, answer: ReviewAnswer): View {
  return {
    type: 'modal',
    callback_id: reviewForm,
    private_metadata: `${answer}:${review.id}`,
    title: plain(answer === 'accept' ? 'Accept' : 'Flag', 24),
    submit: plain(answer === 'accept' ? 'Accept' : 'Flag', 24),
    close: plain('Cancel', 24),
    blocks: [
      section(`What ${review.subject.name} did as ${review.role} on ${review.resource}`),
      {
        type: 'input',
        block_id: 'reason',
        label: plain('What you looked at, and what you found', 2000),
        hint: plain('Auditors read this.', 2000),
        element: { type: 'plain_text_input', action_id: 'value', multiline: true, max_length: bounds.reason },
      },
    ],
  }
}

/** What a sent form is about. It may be old, and it is anybody's: who may answer is decided then. */
export function parseReviewForm(metadata: string): { answer: ReviewAnswer; review_id: string } | null {
  const match = /^(accept|flag):(.+)$/.exec(metadata)
  return match !== null && isId('rvw', match[2]!) ? { answer: match[1] as ReviewAnswer, review_id: match[2]! } : null
}

function answerButtons(review: ReviewView): KnownBlock {
  return {
    type: 'actions',
    block_id: 'review',
    elements: [
      { type: 'button', action_id: 'review_accept', style: 'primary', text: plain('Accept…', 75), value: review.id },
      { type: 'button', action_id: 'review_flag', style: 'danger', text: plain('Flag…', 75), value: review.id },
    ],
  }
}

function outcome({ answer }: ReviewView, zone: string): KnownBlock[] {
  if (answer === null) return []
  const mark = answer.answer === 'accept' ? '✓ Accepted' : '⚑ Flagged'
  return [section(`${mark} by ${answer.by.name}, ${instant(answer.at_ms, zone)}`), quote(answer.reason)]
}
