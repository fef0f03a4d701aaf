import { generateKeyPairSync } from 'node:crypto'
import type { LeasePlan, LeaseProvider, LeaseRequest, Minted, Resource, Target } from '../../gateway/protocol.ts'
import type { Permit } from '../../policy/permit.ts'
import { Secret } from '../../secret.ts'
import { loginOf, type Options } from './options.ts'

/**
 * The credential on the target: a fresh key, for which each connection gets a certificate of one minute, or the stored
 * key or password of the login. Neither leaves anything on the target.
 */
export const lease: LeaseProvider = {
  plan(resource: Resource, request: LeaseRequest): LeasePlan {
    const { auth } = resource.options as Options
    const login = loginOf(resource, request.role)
    return { kind: auth.kind === 'certificate' ? 'certificate' : 'stored', facts: { login } }
  },

  async mint(permit: Permit, target: Target, _request: LeaseRequest, plan: LeasePlan): Promise<Minted> {
    const user = String(plan.facts['login'])
    if (plan.kind === 'stored') return { user, secret: target.secret(permit) }
    const { privateKey } = generateKeyPairSync('ed25519')
    return { user, secret: new Secret(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()) }
  },

  async reap(): Promise<void> {},
}
