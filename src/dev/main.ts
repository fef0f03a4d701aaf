import { SallyportError } from '../errors.ts'
import { watchAncestors } from './ancestors.ts'
import { runDevelopmentWorld, type World, type WorldOptions } from './world.ts'

/** `npm start` and `sallyport dev`: brings the system up, says what to do next, and stays until it is told to stop. */
export async function dev(options: WorldOptions = {}): Promise<void> {
  const started = performance.now()
  const say = (line: string) => process.stdout.write(`${line}\n`)
  // A terminal or pipe that is gone must not end us in the middle of an ordered stop.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  const told = untilTold()
  let world: World | undefined
  try {
    const ready = runDevelopmentWorld({ ...options, progress: line => say(`· ${line}`) })
    const first = await Promise.race([ready, told.why])
    if (typeof first === 'string') {
      say(`Stopping: ${first}.`)
      process.exit(1) // whatever was started ends with this process
    }
    world = first
    for (const line of welcome(world, (performance.now() - started) / 1000)) say(line)
    const end = await Promise.race([told.why, world.fallen])
    say(
      typeof end === 'string'
        ? `\nStopping: ${end}.`
        : `\nStopping everything: ${end.name} is gone (${end.why}). Logs: ${world.dataDir}/logs`,
    )
    await world.stop()
    process.exit(typeof end === 'string' && told.asked() ? 0 : 1)
  } catch (error) {
    const known = error instanceof SallyportError
    process.stderr.write(
      known ? `\nIt did not start: ${error.message}\n→ ${error.remedy}\n` : `${(error as Error).stack}\n`,
    )
    await world?.stop()
    process.exit(1)
  }
}

/** Resolves with the reason to stop. A second signal ends at once: what we started notices by itself. */
function untilTold(): { why: Promise<string>; asked(): boolean } {
  let signalled = false
  const why = new Promise<string>(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (signalled) process.exit(130)
        signalled = true
        resolve(signal === 'SIGINT' ? 'Ctrl-C' : signal)
      })
    }
    watchAncestors(resolve)
  })
  return { why, asked: () => signalled }
}

function welcome(world: World, seconds: number): string[] {
  return [
    '',
    `Sallyport is ready (${seconds.toFixed(1)} s). This one user of the machine holds every key: it is for trying things out.`,
    '',
    `  sign in    ${world.origin}/auth/login`,
    `  Slack      ${world.slack.url}   (a stand-in: requests arrive here with their buttons)`,
    `  policies   ${world.policies}   (commit there; a good commit is active within seconds)`,
    `  logs       ${world.dataDir}/logs`,
    '',
    'In a second terminal, in this folder:',
    '',
    `  npx sallyport login --origin ${world.origin}`,
    '  npx sallyport connect shop-db --role reader --reason "look into order 1001"',
    ...(world.web === undefined
      ? []
      : ['  npx sallyport connect forge --role writer --reason "try git" -- clone team/app']),
    '',
    'Ctrl-C stops everything; what happened is kept.',
  ]
}
