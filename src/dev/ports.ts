import { freePort, requireFreePort } from '../db/loopback.ts'
import { SallyportError } from '../errors.ts'

/** Where the development system listens, all on 127.0.0.1. The README shows this table. */
export const defaultPorts = {
  control: 5450,
  replay: 5451,
  idp: 5452,
  slack: 5453,
  database: 5454,
  shop: 5455,
  gateway: 5456,
  web: 5457,
  ssh: 5458,
} as const

export type PortName = keyof typeof defaultPorts
export type Ports = Readonly<Record<PortName, number>>

const names = Object.keys(defaultPorts) as PortName[]
const variable = (name: PortName) => `SALLYPORT_PORT_${name.toUpperCase()}`

/** The table with what the environment overrides (`SALLYPORT_PORT_CONTROL=6000`). */
export function portsOf(env: NodeJS.ProcessEnv): Ports {
  const chosen: Record<PortName, number> = { ...defaultPorts }
  for (const name of names) {
    const text = env[variable(name)]
    if (text === undefined || text === '') continue
    const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
    if (!(port <= 65_535))
      throw new SallyportError('bad_config', `${variable(name)} is '${text}', which is no port number`)
    chosen[name] = port
  }
  return chosen
}

/**
 * Replaces each 0 by a free port and makes sure that nothing listens on the others.
 * @throws SallyportError `conflict` that names every taken port and the variable that moves it.
 */
export async function settlePorts(wanted: Ports): Promise<Ports> {
  const settled: Record<PortName, number> = { ...wanted }
  const taken: string[] = []
  for (const name of names) {
    if (settled[name] === 0) settled[name] = await anotherPort(settled)
    else {
      await requireFreePort(settled[name], name).catch(error => {
        if (!(error instanceof SallyportError)) throw error
        taken.push(`${settled[name]} (${name}; ${variable(name)} moves it)`)
      })
    }
  }
  const twice = names.filter((name, i) => names.findIndex(other => settled[other] === settled[name]) !== i)
  if (twice.length > 0)
    throw new SallyportError('bad_config', `one port is given to two parts: ${twice.map(variable).join(', ')}`)
  if (taken.length > 0) {
    throw new SallyportError('conflict', `other programs listen on 127.0.0.1 port ${taken.join(', ')}`, {
      remedy: 'stop them, or set the variables to other ports',
    })
  }
  return settled
}

/** The system may give the same free port twice, as long as nothing listens on it. */
async function anotherPort(settled: Readonly<Record<PortName, number>>): Promise<number> {
  for (;;) {
    const port = await freePort()
    if (!Object.values(settled).includes(port)) return port
  }
}
