import { readFileSync, realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command, CommanderError } from 'commander'
import { addAccessCommands } from './access-commands.ts'
import { addAuditCommands } from './audit-commands.ts'
import { openClient } from './client.ts'
import { addDecisionCommands } from './decision-commands.ts'
import { addHostCommands } from './host-commands.ts'
import { addKeepingCommands } from './keeping-commands.ts'
import { complain } from './output.ts'
import { addPeopleCommands } from './people-commands.ts'
import { addPolicyCommands } from './policy-commands.ts'
import { loadProfile } from './profile.ts'
import { addEvidenceCommands, addSessionCommands } from './session-commands.ts'

/** The `sallyport` command. Each command loads its own code when it runs, so that a short call stays short. */
const program = new Command('sallyport')
  .description('Policy-as-code access control plane with just-in-time approvals and an access gateway')
  .version(version(), '-V, --version', 'print the version')
  .option('-p, --profile <name>', 'which sign-in to use (SALLYPORT_PROFILE)')
  .showHelpAfterError('(see --help)')
  .exitOverride()

function version(): string {
  const file = new URL('../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

const profile = (): { profile?: string } => program.opts<{ profile?: string }>()
const client = () => openClient(loadProfile(profile().profile))

program
  .command('login')
  .description('sign in through the browser')
  .option('--origin <url>', 'address of the control plane')
  .action(async (options: { origin?: string }) => (await import('./login.ts')).login({ ...options, ...profile() }))
program
  .command('logout')
  .description('end this sign-in')
  .action(async () => (await import('./login.ts')).logout(profile()))
program
  .command('whoami')
  .description('who you are, and in which groups')
  .action(async () => (await import('./status.ts')).whoami(client()))
program
  .command('status')
  .description('revision, processes and what this deployment promises')
  .action(async () => (await import('./status.ts')).status(client()))

addAccessCommands(program, client, profile)
addSessionCommands(program, client)
addKeepingCommands(program, client)

addAuditCommands(program, client)
addEvidenceCommands(program, client)
addDecisionCommands(program, client)
addPolicyCommands(program, client)
addPeopleCommands(program, client)
addHostCommands(program)

/** Commands that protocols bring. Their code is loaded only where nothing above is meant. */
async function addProtocolCommands(): Promise<void> {
  const { personSides } = await import('../protocols/persons.ts')
  for (const command of personSides.flatMap(each => each.commands ?? [])) {
    const words = command.name.split(' ')
    const under = words
      .slice(0, -1)
      .reduce((at, word) => at.commands.find(each => each.name() === word) ?? at.command(word), program)
    const added = under.command(words.at(-1)!).description(command.summary)
    if (command.arguments !== '') added.arguments(command.arguments)
    for (const { flags, what, default: otherwise } of command.options) added.option(flags, what, otherwise)
    added.action(async (...all: unknown[]) => {
      const given = all.slice(0, -2).flat() as string[]
      const line = (await import('./connect.ts')).commandLineOf(client(), profile().profile)
      process.exitCode = await command.run(line, given, all.at(-2) as Record<string, unknown>)
    })
  }
}

/** Whether the first word that is no option names a command that stands above. */
function isOwn(words: readonly string[]): boolean {
  const first = words.findIndex((word, i) => !word.startsWith('-') && !/^(-p|--profile)$/.test(words[i - 1] ?? ''))
  return program.commands.some(command => command.name() === words[first])
}

/** Runs one command line; the exit code says whether it worked. */
export async function main(argv: readonly string[]): Promise<void> {
  // `sallyport sessions | head` is no fault: whoever reads has read enough.
  process.stdout.on('error', error => process.exit((error as NodeJS.ErrnoException).code === 'EPIPE' ? 0 : 1))
  try {
    if (!isOwn(argv.slice(2))) await addProtocolCommands()
    await program.parseAsync([...argv])
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode
      return
    }
    complain(error)
    process.exitCode = process.exitCode || 1
  }
}

// Started as a program (`node dist/cli/main.js …`), and not imported by a bootstrap.
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await main(process.argv)
