import { faultsOf } from '../faults.ts'
import type { ProtocolCheck } from '../policy/gate.ts'
import type { Protocol } from './protocol.ts'

/** The protocols of this build, filled by main.ts from protocols/all.ts. Everything that needs one asks here. */
export class Registry {
  readonly #protocols: ReadonlyMap<string, Protocol>

  constructor(protocols: readonly Protocol[]) {
    const names = protocols.map(p => p.name)
    const doubled = names.find((name, i) => names.indexOf(name) !== i)
    if (doubled !== undefined) throw new TypeError(`two protocols are called ${doubled}`)
    this.#protocols = new Map(protocols.map(p => [p.name, p]))
  }

  get(name: string): Protocol | undefined {
    return this.#protocols.get(name)
  }

  list(): readonly Protocol[] {
    return [...this.#protocols.values()]
  }

  /** Why a resource cannot be served by this build: unknown protocol or options that do not fit its schema. Empty when it can. */
  problems(resource: { readonly protocol: string; readonly options: unknown }): string[] {
    const protocol = this.get(resource.protocol)
    if (protocol === undefined) {
      const known = [...this.#protocols.keys()].join(', ')
      return [`/protocol: ${JSON.stringify(resource.protocol)} is not one of ${known}`]
    }
    return faultsOf(protocol.options, resource.options).map(line => `/options${line}`)
  }

  /** What the gate of policy/ asks of protocols and deployment before a revision is activated. */
  policyChecks(deployment: Pick<ProtocolCheck, 'keepsOriginals'> = {}): ProtocolCheck {
    return {
      ...deployment,
      checkResource: (protocol, options) => this.problems({ protocol, options }).join('; ') || null,
      canMask: protocol => this.get(protocol)?.capabilities.mask ?? false,
    }
  }
}
