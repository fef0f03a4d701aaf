import type { Decision } from '../policy/decision.ts'
import type { Verdict } from './protocol.ts'

type Words = Pick<Verdict, 'message' | 'detail' | 'remedy'>

/** Of what was allowed there is nothing to say. */
export const allowedWords: Words = { message: '', detail: '', remedy: '' }

/** Policy asks for an approval, and this is not how it can be given. */
export function cannotWait(decision: Decision, why: string): Words {
  const { detail, message } = denialWords(decision)
  const asked = message.replace('refused by policy: ', '')
  return {
    message: `policy asks for an approval of this, which ${why}: ${asked}`,
    detail,
    remedy: 'ask for a role that may do this, or ask the owners of the policy',
  }
}

/** Who looks at the recording reads the rule and its place there, and needs no decision log for it. */
export function whyDenied({ reasons }: Decision): { readonly rule?: string; readonly message?: string } {
  if (reasons.length === 0) return {}
  const rules = reasons.map(({ rule, at }) => (at === undefined ? rule : `${rule} (${at})`))
  return { rule: [...new Set(rules)].join(', '), message: reasons.map(each => each.message).join('; ') }
}

/** What a person reads: what was refused, by which rule at which place, and what to do. */
export function denialWords(decision: Decision): Words {
  const message = decision.reasons.map(r => r.message).join('; ') || 'policy refused this'
  const rules = decision.reasons.map(r => `rule ${r.rule}${r.at === undefined ? '' : ` (${r.at})`}`)
  const remedy = decision.reasons.find(r => r.remedy !== undefined)?.remedy
  return {
    message: `refused by policy: ${message}`,
    detail: [...new Set(rules), `decision ${decision.id}`].join(', '),
    remedy: remedy ?? 'ask for a role that may do this, or ask the owners of the policy',
  }
}
