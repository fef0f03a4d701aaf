import { lookup } from 'node:dns/promises'
import { BlockList, connect, isIP, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Config } from '../config.ts'
import { SallyportError } from '../errors.ts'
import { secretRef } from '../keys.ts'
import { Permit } from '../policy/permit.ts'
import type { Secret } from '../secret.ts'
import { reapCall } from '../sessions/leases.ts'
import type { KeyPair, Resource, Target } from './protocol.ts'

export interface TargetSettings {
  readonly secrets: Config['secrets']
  /** `host:port` of targets on loopback, link-local or our own addresses that the operator allows. */
  readonly allow_addresses: readonly string[]
  readonly connect_ms: number
  readonly keys: (protocol: string, purpose: string) => KeyPair
}

/** Loopback, link-local (cloud metadata lives there), unspecified and multicast: nobody's database. */
const forbidden = new BlockList()
for (const [net, bits] of [
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['0.0.0.0', 8],
  ['224.0.0.0', 3],
] as const) {
  forbidden.addSubnet(net, bits, 'ipv4')
}
for (const [net, bits] of [
  ['::1', 128],
  ['::', 128],
  ['fe80::', 10],
  ['ff00::', 8],
] as const) {
  forbidden.addSubnet(net, bits, 'ipv6')
}

/** The way to one resource: its address and its secret, behind a Permit. */
export class GuardedTarget implements Target {
  readonly resource: Resource
  readonly #settings: TargetSettings

  constructor(resource: Resource, settings: TargetSettings) {
    this.resource = resource
    this.#settings = settings
  }

  async connect(permit: Permit): Promise<Socket> {
    this.#check(permit)
    const { host, port } = this.resource
    const address = await this.#resolve(host)
    const allowed = this.#settings.allow_addresses
    if (isForbidden(address) && !allowed.includes(`${host}:${port}`) && !allowed.includes(`${address}:${port}`)) {
      throw new SallyportError(
        'policy_denied',
        `${this.resource.name} lies on an address of this machine or network link (${address})`,
        {
          remedy: `if this is meant, the operator adds "${host}:${port}" to allow_addresses`,
        },
      )
    }
    return dial(address, port, this.#settings.connect_ms, this.resource.name)
  }

  secret(permit: Permit): Secret {
    this.#check(permit)
    const { name, secret: named, host, labels } = this.resource
    if (named === null) throw refusedSecret(`${name} names no secret`, 'name one in resources/data.yaml')
    const declared = Object.hasOwn(this.#settings.secrets, named) ? this.#settings.secrets[named] : undefined
    if (declared === undefined) {
      throw refusedSecret(
        `${name} names the secret ${named}, which the operator did not declare`,
        'declare it under secrets:',
      )
    }
    if (!declared.hosts.includes(host)) {
      throw refusedSecret(`the secret ${named} may not be sent to ${host}`, "add the host to the secret's hosts:")
    }
    for (const [label, value] of Object.entries(declared.labels ?? {})) {
      if (!Object.hasOwn(labels, label) || labels[label] !== value) {
        throw refusedSecret(
          `the secret ${named} is for resources labelled ${label}: ${value}`,
          'correct the label or the secret',
        )
      }
    }
    return secretRef(declared.from)
  }

  keys(permit: Permit, purpose: string): KeyPair {
    this.#check(permit)
    return this.#settings.keys(this.resource.protocol, purpose)
  }

  /** INVARIANT: nothing is dialled and no secret is resolved without a Permit for exactly this resource, and for going there. */
  #check(permit: Permit): void {
    if (!Permit.is(permit)) throw new TypeError('a target is opened by a Permit only')
    const { point, call } = permit
    const leadsThere =
      (point === 'access' && (call === 'connect' || call === 'live')) || (point === 'admin' && call === reapCall)
    if (!leadsThere) throw new TypeError(`a permit of ${point} (${call ?? 'no call'}) opens no target`)
    if (permit.resource !== this.resource.name) {
      throw new SallyportError(
        'policy_denied',
        `the permit is for ${permit.resource ?? 'nothing'}, not for ${this.resource.name}`,
      )
    }
  }

  /** One answer is taken, checked and dialled: a second look-up could answer something else. */
  async #resolve(host: string): Promise<string> {
    if (isIP(host)) return host
    try {
      return (await lookup(host)).address
    } catch (error) {
      throw unreachable(this.resource.name, `its host name ${host} has no address`, error)
    }
  }
}

function isForbidden(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  const plain = mapped ?? address
  if (forbidden.check(plain, isIP(plain) === 6 ? 'ipv6' : 'ipv4')) return true
  return Object.values(networkInterfaces()).some(list => list?.some(own => own.address === plain))
}

function dial(address: string, port: number, ms: number, name: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 })
    const timer = setTimeout(() => socket.destroy(new Error(`no answer in ${ms / 1000} s`)), ms)
    const failed = (error: Error) => {
      clearTimeout(timer)
      reject(unreachable(name, error.message, error))
    }
    socket.once('error', failed)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.off('error', failed).on('error', () => {}) // whoever uses it sees its end as `close`
      resolve(socket)
    })
  })
}

function unreachable(name: string, why: string, cause: unknown): SallyportError {
  return new SallyportError('target_unavailable', `${name} cannot be reached: ${why}`, { cause })
}

function refusedSecret(message: string, remedy: string): SallyportError {
  return new SallyportError('policy_denied', message, { remedy })
}
