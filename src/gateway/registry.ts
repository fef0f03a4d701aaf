import { Type as T, type TSchema } from 'typebox'
import { faultsOf } from '../faults.ts'
import type { ProtocolCheck } from '../policy/gate.ts'
import type { Readings } from '../recording/reading.ts'
import type { ListeningProtocol, Protocol, Resource } from './protocol.ts'
import { gateReadings } from './readings.ts'

/** The protocols of this build, filled by main.ts from protocols/all.ts. Everything that needs one asks here. */
export class Registry {
  readonly #protocols: ReadonlyMap<string, Protocol>
  readonly #options: ReadonlyMap<string, TSchema>

  constructor(protocols: readonly Protocol[]) {
    const names = protocols.map(p => p.name)
    const doubled = names.find((name, i) => names.indexOf(name) !== i)
    if (doubled !== undefined) throw new TypeError(`two protocols are called ${doubled}`)
    this.#protocols = new Map(protocols.map(p => [p.name, p]))
    this.#options = new Map(protocols.map(p => [p.name, this.#optionsOf(p)]))
  }

  get(name: string): Protocol | undefined {
    return this.#protocols.get(name)
  }

  list(): readonly Protocol[] {
    return [...this.#protocols.values()]
  }

  /** How the events of its sessions read; those of the gate read alike everywhere. */
  readingsOf(name: string): Readings {
    return { ...gateReadings, ...this.get(name)?.readings }
  }

  /** Those with a port of their own. */
  listening(): readonly ListeningProtocol[] {
    return this.list().filter(each => each.listener.kind === 'tcp') as ListeningProtocol[]
  }

  /** Whose listener, proofs, leases and way to the target a protocol's resources are reached by: its own, or what it rides on. */
  wireOf(protocol: Protocol): ListeningProtocol {
    if (protocol.listener.kind === 'tcp') return protocol as ListeningProtocol
    const { carried } = protocol.listener
    const carriers = this.listening().filter(each => each.carries === carried)
    if (carriers.length === 1) return carriers[0]!
    throw new TypeError(`${protocol.name} rides on what carries ${carried}, and ${carriers.length} protocols do`)
  }

  /** The schema of `options`: where a protocol rides on another, that one's stand under `carrier`. */
  optionsOf(protocol: Protocol): TSchema {
    return this.#options.get(protocol.name)!
  }

  /** Each protocol with the schema of its resources' options. */
  schemas(): readonly { readonly name: string; readonly options: TSchema }[] {
    return this.list().map(each => ({ name: each.name, options: this.optionsOf(each) }))
  }

  #optionsOf(protocol: Protocol): TSchema {
    if (protocol.listener.kind === 'tcp') return protocol.options
    const own = (protocol.options as T.TObject).properties
    return T.Object({ ...own, carrier: this.wireOf(protocol).options }, { additionalProperties: false })
  }

  /** A resource as the protocol of its wire reads it. @throws TypeError for a protocol that is not of this build. */
  onTheWire(resource: Resource): Resource {
    const protocol = this.get(resource.protocol)
    if (protocol === undefined) throw new TypeError(`${resource.protocol} is not of this build`)
    if (protocol.listener.kind === 'tcp') return resource
    const { carrier } = resource.options as { readonly carrier: unknown }
    return { ...resource, protocol: this.wireOf(protocol).name, options: carrier }
  }

  /** Why a resource cannot be served by this build: unknown protocol or options that do not fit its schema. Empty when it can. */
  problems(resource: { readonly protocol: string; readonly options: unknown }): string[] {
    const protocol = this.get(resource.protocol)
    if (protocol === undefined) {
      const known = [...this.#protocols.keys()].join(', ')
      return [`/protocol: ${JSON.stringify(resource.protocol)} is not one of ${known}`]
    }
    return faultsOf(this.optionsOf(protocol), resource.options).map(line => `/options${line}`)
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
