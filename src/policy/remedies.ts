import type { DecisionCode } from './points.ts'

/** What a person does next about a denial that is not policy's own; `policy_error` stands for those that are not named. */
export const remedies: Partial<Record<DecisionCode, string>> = {
  policy_error: 'ask a security engineer to look at `sallyport policy status`',
  policy_missing: 'ask a security engineer to activate a first policy revision',
  policy_stale: 'try again in a few seconds',
  policy_aged: 'ask a security engineer or an operator to look at `sallyport policy status`',
  token_scope: 'use a token with a fitting scope',
  groups_stale: 'sign in again',
  input_invalid: 'tell the operator: this is a fault of the program or a hostile request',
  input_too_large: 'make the request smaller',
  unsupported: 'ask a security engineer to change the policy, or upgrade',
}
