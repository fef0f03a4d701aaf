import { createHmac } from 'node:crypto'
import { SallyportError } from '../errors.ts'
import type { Permit } from '../policy/permit.ts'
import type { LeaseToReap } from '../sessions/ports.ts'
import { Failures } from './failures.ts'
import type { GatewayGround } from './ground.ts'
import { Holds } from './holds/holds.ts'
import { type ListenerSettings, Listeners } from './listeners.ts'
import { Live } from './live.ts'
import { Opening } from './opening.ts'
import { OutOfBand } from './out-of-band.ts'
import type { Door, ListeningProtocol, Resource } from './protocol.ts'
import { GuardedTarget } from './target.ts'

/** One gateway worker: listeners, doors, live sessions. */
export class Gateway {
  readonly live: Live
  readonly listeners: Listeners
  readonly #ground: GatewayGround
  readonly #holds: Holds
  readonly #opening: Opening
  readonly #failures: Failures
  readonly #outOfBand: OutOfBand

  constructor(ground: GatewayGround, settings: ListenerSettings) {
    this.#ground = ground
    this.live = new Live(ground)
    this.#holds = new Holds(ground)
    this.#opening = new Opening(ground, this.live, this.#holds)
    this.#failures = new Failures(ground.database, ground.audit)
    this.#outOfBand = new OutOfBand(ground.database, ground.notices, ground.process_id)
    this.listeners = new Listeners(settings, (protocol, address) => this.#door(protocol, address))
  }

  /** Serves every protocol of the registry. @throws SallyportError `conflict` when a port is taken. */
  async start(): Promise<void> {
    this.live.start()
    this.#holds.start()
    await this.listeners.listen(this.#ground.registry.listening())
  }

  /** Ends every session with words for its client, then closes. */
  async stop(graceMs = 2000): Promise<void> {
    this.listeners.accepting(false)
    const why = {
      code: 'not_ready',
      message: 'the gateway is stopping',
      remedy: 'connect again',
      decision_id: null,
    } as const
    this.live.endConnections(why)
    await this.listeners.close(graceMs)
    await this.#holds.close()
    await this.live[Symbol.asyncDispose]()
    this.#outOfBand[Symbol.dispose]()
  }

  /** Removes a credential from its target; plugged into `Leases.reapDue`. */
  async reap(permit: Permit, lease: LeaseToReap): Promise<void> {
    const resource: Resource | undefined = this.#ground.resources.get(lease.resource)
    const protocol = this.#ground.registry.get(lease.protocol)
    if (resource === undefined || protocol === undefined || resource.protocol !== lease.protocol) {
      throw new SallyportError(
        'not_found',
        `${lease.resource} is not declared any more: its credential cannot be removed from here`,
        {
          remedy: `declare it again, or remove the credential by hand: ${JSON.stringify(lease.facts)}`,
        },
      )
    }
    const { registry, targets } = this.#ground
    const target = new GuardedTarget(registry.onTheWire(resource), targets)
    await registry.wireOf(protocol).lease.reap(permit, target, lease.facts)
  }

  #door(protocol: ListeningProtocol, address: string): Door | undefined {
    if (!this.#failures.admits(address)) return undefined
    const { tickets, tls, limits, plaintext, pretenceKey, origin, targets, registry } = this.#ground
    return {
      protocol: protocol.name,
      address,
      origin,
      limits,
      plaintext,
      tls,
      keys: purpose => targets.keys(protocol.name, purpose),
      ticket: async id => {
        if (!this.#failures.admitsTicket(address, id)) return undefined
        const found = await tickets.find(id)
        const its = found === undefined ? undefined : registry.get(found.ticket.protocol)
        if (found === undefined || its === undefined || registry.wireOf(its) !== protocol) return undefined
        const { resource, role } = found.ticket
        return { id: found.ticket.id, resource, role, verifiers: found.verifiers }
      },
      pretence: id => createHmac('sha256', pretenceKey).update(id).digest(),
      open: (ticket, client) => {
        this.#failures.proved(address, ticket.id)
        return this.#opening.open(protocol, ticket, { address, ...client })
      },
      failed: (reason, facts) => this.#failures.add(protocol.name, address, reason, facts),
      relayOutOfBand: (number, payload) => this.#outOfBand.send(number, payload),
      onOutOfBand: (number, run) => this.#outOfBand.on(number, run),
      nextConnectionNumber: () => this.#outOfBand.nextNumber(),
    }
  }
}
