import { type ChildProcess, fork } from 'node:child_process'
import cluster from 'node:cluster'
import type { Config } from '../config.ts'
import { SallyportError } from '../errors.ts'
import { loadConfig } from '../load-config.ts'
import { faultMessage, logger } from '../log.ts'
import { type Role, roles, startRole } from '../main.ts'
import { checkReferences } from '../references.ts'
import { complain, say } from './output.ts'
import { ended, firstWord, type Running, runWorkers } from './workers.ts'

const log = logger('serve')

/** Set by `sallyport dev` for its children; `serve` alone never runs with development settings. */
export const developmentMark = 'SALLYPORT_DEVELOPMENT_TREE'

/** Runs one role in this process, or several as children of this one. Returns when it was asked to stop. */
export async function serve(options: { config?: string; roles: string }): Promise<void> {
  const path = configPath(options.config)
  const config = loadConfig(path)
  if (config.development === true && (process.env[developmentMark] !== '1' || process.send === undefined)) {
    throw new SallyportError('bad_config', `${path} is a development configuration`, {
      remedy: 'remove `development: true`; `npm start` is the development system',
    })
  }
  const wanted = parseRoles(options.roles)
  if (process.send === undefined) checkReferences(config, wanted) // children were started by who has looked
  process.once('disconnect', orphaned)
  const running = wanted.length === 1 ? await runRole(wanted[0]!, config) : await runChildren(wanted, path)
  process.off('disconnect', orphaned)
  process.send?.({ ready: true })
  if (process.send === undefined) log.info({ roles: wanted }, 'ready')
  await stopped()
  await running.close()
}

async function runRole(role: Role, config: Config): Promise<Running> {
  if (role === 'gateway' && cluster.isPrimary) return runWorkers(config.gateway.workers)
  try {
    return await startRole(role, config)
  } catch (error) {
    process.send?.({ problem: faultMessage(error) })
    throw error
  }
}

/** Several roles on one machine: a process each, replaced when it dies. */
async function runChildren(wanted: readonly Role[], path: string): Promise<Running> {
  let closing = false
  const children = new Map<Role, ChildProcess>()
  const start = (role: Role): Promise<void> => {
    const child = fork(process.argv[1]!, ['serve', '--roles', role, '--config', path], { serialization: 'advanced' })
    const born = Date.now()
    children.set(role, child)
    child.once('exit', (code, signal) => {
      if (closing) return
      log.error({ role, code, signal }, 'a process ended; another takes its place')
      setTimeout(() => !closing && void start(role).catch(() => {}), Date.now() - born < 5_000 ? 2_000 : 0)
    })
    return firstWord(child)
  }
  for (const role of wanted) await start(role)
  return {
    async close() {
      closing = true
      await Promise.all([...children.values()].map(child => ended(child, () => child.kill('SIGTERM'))))
    },
  }
}

/** A signal, or the end of the parent: nothing of ours outlives whoever started it. */
function stopped(): Promise<void> {
  return new Promise(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
    if (process.connected) process.once('disconnect', () => resolve())
    else if (process.send !== undefined) resolve() // it went while this one was starting
  })
}

/** The parent died while this process was starting: there is nobody to be ready for. */
function orphaned(): never {
  log.error('the process that started this one is gone')
  process.exit(70)
}

function parseRoles(text: string): Role[] {
  const wanted = [...new Set(text.split(',').map(role => role.trim()))]
  const unknown = wanted.filter(role => !roles.includes(role as Role))
  if (unknown.length > 0 || wanted.length === 0) {
    throw new SallyportError('bad_request', `there is no role '${unknown.join("', '")}'`, {
      remedy: `choose from ${roles.join(', ')}`,
    })
  }
  return wanted as Role[]
}

export function configPath(option: string | undefined): string {
  const path = option ?? process.env['SALLYPORT_CONFIG']
  if (path === undefined) {
    throw new SallyportError('bad_config', 'which configuration?', {
      remedy:
        'name it with --config FILE or SALLYPORT_CONFIG; `npm start` keeps its own as sallyport.yaml in its data folder',
    })
  }
  return path
}

/** `sallyport migrate`: schema, and the rights of the three database users. */
export async function migrateDatabase(options: { config?: string }): Promise<void> {
  const config = loadConfig(configPath(options.config))
  if (config.database.owner === undefined) {
    throw new SallyportError('bad_config', 'database.owner is missing', {
      remedy: 'name the URL of the owner of the database; only `migrate` uses it',
    })
  }
  const { migrate } = await import('../db/migrate.ts')
  const { secretRef } = await import('../keys.ts')
  await migrate(secretRef(config.database.owner), {
    control: secretRef(config.database.control),
    gateway: secretRef(config.database.gateway),
    replay: secretRef(config.database.replay),
  })
  say('The database is up to date.')
}

/** `sallyport keys`: makes what is missing, never replaces, and prints the public halves for the configuration. */
export async function makeKeys(options: { config?: string }): Promise<void> {
  const { ensureKeys } = await import('./keys.ts')
  const made = await ensureKeys(configPath(options.config))
  for (const path of made.created) say(`made ${path}`)
  say('\nPut into the configuration of every host:\n')
  say(`public_keys:\n  bundles: ${made.public_keys.bundles}\n  replay_calls: ${made.public_keys.replay_calls}`)
  say(`recording:\n  recipients: [${made.recipient ?? 'the age recipients that you chose'}]`)
  if (made.originals_recipient !== null) say(`  originals_recipients: [${made.originals_recipient}]`)
}

process.on('unhandledRejection', error => {
  // An exception is a fault and closes the door: a process in an unknown state must not go on deciding.
  complain(error)
  process.exit(70)
})

process.on('uncaughtException', error => {
  complain(error)
  process.exit(70)
})
