import type { LeasePlan, LeaseProvider, LeaseRequest, Minted, Resource, Target } from '../../gateway/protocol.ts'
import type { Permit } from '../../policy/permit.ts'
import { freshKey } from './keys.ts'
import { checked, createCommand, loginOfLease, makeLogin, removeLogin } from './made-login.ts'
import { loginOf, type Options } from './options.ts'

/**
 * The credential on the target: a fresh key, for which each connection gets a certificate of one minute, or the stored
 * key or password of the login. Neither leaves anything on the target. Or a login of this lease alone, which is reached
 * by such a certificate and is removed when the lease is reaped.
 */
export const lease: LeaseProvider = {
  plan(resource: Resource, request: LeaseRequest): LeasePlan {
    const { auth } = resource.options as Options
    if (auth.kind === 'login') {
      createCommand(auth, request.role, resource.name)
      checked(auth.remove, resource.name)
      return { kind: 'login', facts: { login: loginOfLease(request.id), made: true } }
    }
    const login = loginOf(resource, request.role)
    return { kind: auth.kind === 'certificate' ? 'certificate' : 'stored', facts: { login } }
  },

  async mint(permit: Permit, target: Target, request: LeaseRequest, plan: LeasePlan): Promise<Minted> {
    const user = String(plan.facts['login'])
    if (plan.kind === 'stored') return { user, secret: target.secret(permit) }
    if (plan.kind === 'login') await makeLogin(permit, target, user, request.role)
    return { user, secret: freshKey() }
  },

  async reap(permit: Permit, target: Target, facts: Readonly<Record<string, unknown>>): Promise<void> {
    if (facts['made'] === true) await removeLogin(permit, target, String(facts['login']))
  },
}
