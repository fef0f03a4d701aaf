import type { Client } from 'ssh2'
import { SallyportError } from '../../errors.ts'
import type { Minted, Target } from '../../gateway/protocol.ts'
import type { Permit } from '../../policy/permit.ts'
import { logIn } from './dial.ts'
import { freshKey } from './keys.ts'
import type { MadeLogin } from './options.ts'

const placeholder = '{login}'
const bounds = { run_ms: 60_000, said_bytes: 2048 }

/** INVARIANT: the one thing that is put into a command, and a shell reads it as one word. */
export function loginOfLease(lease_id: string): string {
  const login = `sp-${lease_id.slice(-26).toLowerCase()}`
  if (/^sp-[0-9a-z]{26}$/.test(login)) return login
  throw new SallyportError('internal', `the lease ${lease_id} gives no name for a login`)
}

/** The command that makes the login of a role. @throws `policy_denied` where policy has none, `unsupported` for another placeholder. */
export function createCommand(auth: MadeLogin, role: string, resource: string): string {
  const command = Object.hasOwn(auth.create, role) ? auth.create[role]! : undefined
  if (command === undefined) {
    throw new SallyportError('policy_denied', `${resource} does not say how the login of a ${role} is made`, {
      remedy: 'add the role to options.auth.create of the resource',
    })
  }
  return checked(command, resource)
}

export function checked(command: string, resource: string): string {
  const foreign = command.replaceAll(placeholder, '').match(/(?<!\$)\{[a-z_]+\}/)?.[0]
  if (command.includes(placeholder) && foreign === undefined) return command
  const why = foreign === undefined ? `does not hold ${placeholder}` : `holds ${foreign}, which nothing fills`
  throw new SallyportError('unsupported', `a command of ${resource} that makes or removes logins ${why}`, {
    remedy: `write ${placeholder} where the login's name goes, and no other placeholder`,
  })
}

/** Makes the login. Whatever a command of policy's answers but 0 is a failure, told with what it said. */
export async function makeLogin(permit: Permit, target: Target, login: string, role: string): Promise<void> {
  const auth = authOf(target)
  const command = createCommand(auth, role, target.resource.name)
  await asAdmin(permit, target, auth, login, async run => {
    const { code, said } = await run(fill(command, login))
    if (code !== 0) throw failed(target, 'made', login, code, said)
  })
}

/** Idempotent: one that is not there is gone. What policy's command left is a failure, and is tried again. */
export async function removeLogin(permit: Permit, target: Target, login: string): Promise<void> {
  const auth = authOf(target)
  const command = checked(auth.remove, target.resource.name)
  await asAdmin(permit, target, auth, login, async run => {
    const stands = async () => (await run(`id -u ${login} >/dev/null 2>&1`)).code === 0
    if (!(await stands())) return
    const { code, said } = await run(fill(command, login))
    if (await stands()) throw failed(target, 'removed', login, code, said)
  })
}

function authOf({ resource }: Target): MadeLogin {
  const { auth } = resource.options as { auth: MadeLogin | { kind: string } }
  if (auth.kind === 'login') return auth as MadeLogin
  throw new SallyportError('target_unavailable', `${resource.name} no longer says how logins are made and removed`, {
    remedy: 'its owner brings options.auth back until what was made is removed',
  })
}

interface Ran {
  /** null: a signal ended it. */
  readonly code: number | null
  readonly said: string
}

async function asAdmin(
  permit: Permit,
  target: Target,
  auth: MadeLogin,
  login: string,
  work: (run: (command: string) => Promise<Ran>) => Promise<void>,
): Promise<void> {
  const credential: Minted = {
    user: auth.admin,
    secret: auth.by === 'certificate' ? freshKey() : target.secret(permit),
  }
  const { client, socket } = await logIn(permit, target, credential, { way: auth.by, keyId: `lease ${login}` })
  try {
    await work(command => execute(client, command))
  } finally {
    client.end()
    socket.destroySoon()
  }
}

function execute(client: Client, command: string): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const gone = () =>
      reject(new SallyportError('target_unavailable', 'the target closed the connection in the middle'))
    const late = setTimeout(() => {
      reject(
        new SallyportError(
          'target_unavailable',
          `a command that makes or removes a login took over ${bounds.run_ms / 1000} s`,
        ),
      )
      client.destroy()
    }, bounds.run_ms)
    client.once('close', gone)
    client.exec(command, (error, channel) => {
      if (error !== undefined) return reject(error)
      let said = ''
      let code: number | null = null
      const hear = (chunk: Buffer) => {
        if (said.length < bounds.said_bytes) said += chunk.toString('utf8').slice(0, bounds.said_bytes)
      }
      channel.on('data', hear).stderr.on('data', hear)
      channel.on('exit', (status: number | null) => (code = status))
      channel.once('close', () => {
        client.off('close', gone)
        clearTimeout(late)
        resolve({ code, said })
      })
      channel.end()
    })
  })
}

function fill(command: string, login: string): string {
  return command.replaceAll(placeholder, login)
}

function failed({ resource }: Target, what: string, login: string, code: number | null, said: string): SallyportError {
  const words = said.trim().replace(/\s+/g, ' ').slice(0, 300)
  return new SallyportError(
    'target_unavailable',
    `the login ${login} could not be ${what} on ${resource.name}: the command ${code === null ? 'was killed' : `ended with ${code}`}${words === '' ? '' : `: ${words}`}`,
    { remedy: 'look at options.auth of the resource, and at what its admin login may do there' },
  )
}
