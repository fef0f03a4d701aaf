import { readFileSync, realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command, CommanderError } from 'commander'
import { addAuditCommands } from './audit-commands.ts'
import { openClient } from './client.ts'
import type { ImpactCommand } from './impact.ts'
import { addKeepingCommands } from './keeping-commands.ts'
import { complain, seconds } from './output.ts'
import type { FolderOptions } from './policy.ts'
import { loadProfile } from './profile.ts'
import { addEvidenceCommands, addSessionCommands } from './session-commands.ts'
import type { VerifyDecisionCommand } from './verify-decision.ts'

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
const collect = (value: string, all: string[] = []) => [...all, value]

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

program
  .command('resources')
  .description('what you may ask for')
  .action(async () => (await import('./access.ts')).listResources(client()))
program
  .command('request <resource>')
  .description('ask for a role on a resource')
  .requiredOption('-r, --role <role>', 'the role')
  .requiredOption('-m, --reason <text>', 'why; approvers and auditors read it')
  .option('-f, --for <duration>', 'for how long (45m, 2h)', '1h')
  .option('-t, --ticket <number>', 'number in your own ticket system')
  .option('--no-wait', 'do not wait for the answer')
  .action(
    async (resource: string, o: { role: string; reason: string; for: string; ticket?: string; wait: boolean }) => {
      await (await import('./access.ts')).ask(client(), {
        resource,
        role: o.role,
        reason: o.reason,
        duration_s: seconds(o.for),
        ticket_ref: o.ticket,
        wait: o.wait,
      })
    },
  )
program
  .command('requests')
  .description('requests you made, and those you may see')
  .option('-s, --state <state>', 'pending, approved, denied, expired or cancelled')
  .action(async (o: { state?: string }) => (await import('./access.ts')).listRequests(client(), o))
program
  .command('approve <request>')
  .description('approve a request')
  .action(async (id: string) => (await import('./access.ts')).vote(client(), id, 'approve'))
program
  .command('deny <request>')
  .description('deny a request')
  .action(async (id: string) => (await import('./access.ts')).vote(client(), id, 'deny'))
program
  .command('cancel <request>')
  .description('take back your own request')
  .action(async (id: string) => (await import('./access.ts')).cancel(client(), id))
program
  .command('grants')
  .description('grants that last now')
  .action(async () => (await import('./access.ts')).listGrants(client()))
program
  .command('revoke <grant>')
  .description('end a grant now; its connections close within a second')
  .requiredOption('-m, --reason <text>', 'why')
  .action(async (id: string, o: { reason: string }) => (await import('./access.ts')).revoke(client(), id, o.reason))

program
  .command('reviews')
  .description('what was done on nobody else’s word and still has to be looked at')
  .option('--all', 'also those that are answered')
  .action(async (o: { all?: boolean }) => (await import('./reviews.ts')).listReviews(client(), o))
program
  .command('review <review>')
  .description('show one, or answer it: never what one did oneself')
  .option('--accept', 'nothing was wrong')
  .option('--flag', 'something has to be followed up')
  .option('-m, --reason <text>', 'what you looked at, and what you found')
  .action(async (id: string, o: { accept?: boolean; flag?: boolean; reason?: string }) =>
    (await import('./reviews.ts')).review(client(), id, o),
  )

program
  .command('connect <resource> [args...]')
  .description('start the right client with a ticket; arguments after -- go to it')
  .option('-r, --role <role>', 'the role, where you have several')
  .option('-m, --reason <text>', 'ask first, with this reason, and wait for the answer')
  .option('-f, --for <duration>', 'for how long to ask', '1h')
  .option('-t, --ticket <number>', 'number in your own ticket system')
  .option('--print', 'print host, port, user, password, CA file and URL for any other client')
  .action(
    async (
      resource: string,
      args: string[],
      o: { role?: string; reason?: string; for: string; ticket?: string; print?: boolean },
    ) => {
      process.exitCode = await (await import('./connect.ts')).connect(client(), resource, args, {
        ...o,
        ...profile(),
        for: seconds(o.for),
      })
    },
  )

addSessionCommands(program, client)
addKeepingCommands(program, client)

addAuditCommands(program, client)
addEvidenceCommands(program, client)

const filtered = (command: Command): Command =>
  command
    .option('--subject <who>', "of one subject: id, name, e-mail or the identity provider's name")
    .option('--resource <name>', 'on one resource')
    .option('--session <id>', 'of one session')
    .option('--request <id>', 'of one request')
    .option('--point <point>', 'of one point (access, action, admin, …)')
    .option('--effect <effect>', 'allow, deny, ask or data')
    .option('--rule <id>', 'that this rule made')
    .option('--revision <revision>', 'under one revision: generation, or the beginning of its commit')
    .option('--text <words>', 'whose input or reasons hold these words')
    .option('--from <time>', 'since then (ISO 8601, or 7d for so long ago)')
    .option('--to <time>', 'before then')
const decisions = filtered(program.command('decisions'))
  .description('the decision log, newest first')
  .option('--limit <n>', 'at most so many', '50')
  .option('--json', 'as JSON Lines')
  .action(async (o: { limit: string; json?: boolean }) => (await import('./decisions.ts')).listDecisions(client(), o))
filtered(decisions.command('export'))
  .description("write decisions to a file, as lines of OPA's decision log")
  .requiredOption('-o, --out <file>', 'where to')
  .action(async (_: unknown, command: Command) =>
    (await import('./decisions.ts')).exportDecisions(client(), command.optsWithGlobals<{ out: string }>()),
  )
program
  .command('verify-decision <decision>')
  .description('compute a decision again from its commit, and say what that proves; a file of --output needs no server')
  .option('--repo <folder>', 'take the commit from this git repository instead of the server')
  .option('--folder <folder>', 'folder of the policies in it; default where you stand')
  .option('--key <vkey>', 'the key of the audit log that you trust')
  .option('--bundles-key <key>', 'public_keys.bundles of the deployment: proves that control signed the revision')
  .option(
    '--max-groups-age <duration>',
    'oidc.max_groups_age_s of the deployment: proves that groups were too old, or fresh',
  )
  .option('-o, --output <file>', 'also keep what the server said, for a machine that has none')
  .action(async (id: string, o: VerifyDecisionCommand) => {
    process.exitCode = await (await import('./verify-decision.ts')).verifyDecision(client, id, o)
  })

program
  .command('explain <decision>')
  .description('why a decision came out as it did, and what would have been needed instead')
  .option('--json', 'as JSON')
  .action(async (id: string, o: { json?: boolean }) => (await import('./explain.ts')).explain(client(), id, o))
program
  .command('can-i <role> <resource>')
  .description('whether you have a role, or would get it without asking; the exit code says it too')
  .option('--json', 'as JSON')
  .action(async (role: string, resource: string, o: { json?: boolean }) => {
    process.exitCode = await (await import('./plan.ts')).canI(client(), role, resource, o)
  })

const policy = program.command('policy').description('the policy repository')
policy
  .command('plan')
  .description('what applies to a subject on a resource: who approves, how it is recorded, masked, kept, replayed')
  .requiredOption('--subject <who>', "id, name, e-mail address or the identity provider's name")
  .requiredOption('--resource <name>', 'the resource')
  .option('--role <role>', 'one role only')
  .option('--json', 'as JSON')
  .action(async (o: { subject: string; resource: string; role?: string; json?: boolean }) =>
    (await import('./plan.ts')).plan(client(), o),
  )
policy
  .command('status')
  .description('the active revision, and why a newer commit is not')
  .action(async () => (await import('./policy.ts')).policyStatus(client()))
policy
  .command('history')
  .description('what was in force, newest first')
  .option('--limit <n>', 'at most so many', '20')
  .option('--before <generation>', 'older than this one')
  .action(async (o: { limit: string; before?: string }) => (await import('./policy-steering.ts')).history(client(), o))
policy
  .command('pin <commit>')
  .description('put a commit into force and hold it, whatever the tracked ref names')
  .requiredOption('-m, --reason <text>', 'why; everybody reads it')
  .action(async (commit: string, o: { reason: string }) =>
    (await import('./policy-steering.ts')).pin(client(), commit, o.reason),
  )
policy
  .command('rollback [generation]')
  .description('put back what was in force before, and hold it')
  .requiredOption('-m, --reason <text>', 'why; everybody reads it')
  .action(async (generation: string | undefined, o: { reason: string }) =>
    (await import('./policy-steering.ts')).rollback(client(), generation, o.reason),
  )
policy
  .command('unpin')
  .description('follow the tracked ref again, or end a recovery')
  .requiredOption('-m, --reason <text>', 'why; everybody reads it')
  .action(async (o: { reason: string }) => (await import('./policy-steering.ts')).unpin(client(), o.reason))
policy
  .command('show <generation>')
  .description('write the sources of a revision to a folder')
  .option('-o, --output <folder>', 'where to; default policy-GENERATION')
  .action(async (generation: string, o: { output?: string }) =>
    (await import('./policy-steering.ts')).show(client(), generation, o),
  )
policy
  .command('init <folder>')
  .description(
    'write a new policy repository: starter policies, tests, schemas, editor setup, pipeline (needs no server)',
  )
  .action(async (folder: string) => (await import('./policy-init.ts')).initRepository(folder))
for (const [name, what] of [
  ['check', 'check a policy folder: types, schemas, data, rule ids, tests'],
  ['test', 'run the tests, in OPA and in the WASM that is enforced'],
  ['build', 'compile a policy folder and print its digest'],
] as const) {
  policy
    .command(`${name} [folder]`)
    .description(`${what} (needs no server)`)
    .option('--json', 'one JSON object instead of lines')
    .option('-c, --config <file>', "the deployment's configuration: secrets that it does not declare are refused too")
    .action(async (folder: string | undefined, o: FolderOptions) => {
      process.exitCode = await (await import('./policy.ts'))[name](folder ?? '.', o)
    })
}
policy
  .command('shadow')
  .description('what the shadow policy (setting policy.shadow_ref) would decide differently on live traffic')
  .option('--json', 'as JSON')
  .option('--limit <n>', 'at most so many groups', '50')
  .action(async (o: { json?: boolean; limit: string }) => (await import('./shadow.ts')).policyShadow(client(), o))
policy
  .command('impact <range>')
  .description('who would be newly denied, allowed or asked between two commits, BASE..HEAD, from recorded decisions')
  .option('--repo <folder>', 'the policy repository', '.')
  .option('--folder <folder>', 'folder of the policies in it; default where you stand')
  .option(
    '--log <file>',
    'exported decision log instead of the server, .gz too, - for standard input; repeat for several',
    collect,
    [] as string[],
  )
  .option('--days <n>', 'decisions of the last days that the server is asked for; default 30')
  .option('--format <format>', 'table, json, or markdown for a pull request', 'table')
  .option('-o, --output <file>', 'where the report goes; default standard output')
  .option('--fail-on <limits>', 'exit with 3 where there are more, such as denied:0,allowed:10 or any:0')
  .option('--zone <zone>', 'time zone of the deployment', 'UTC')
  .option('--threads <n>', 'how many threads judge; default one a core', Number)
  .action(async (range: string, o: ImpactCommand) => {
    process.exitCode = await (await import('./impact.ts')).impact(client, range, o)
  })

const token = program.command('token').description('API tokens')
token
  .command('issue <name>')
  .description('issue a token; shown once')
  .option(
    '--scope <scope>',
    "what it may be used for, as point:what (access:request, admin:sessions.*) or '*'; repeat for several",
    collect,
    [] as string[],
  )
  .option('--for <duration>', 'how long it is good', '30d')
  .option('--machine <name>', 'let it act as this machine instead of you')
  .option('--group <group>', 'group of the machine; repeat for several', collect, [] as string[])
  .action(async (name: string, o: { scope: string[]; for: string; machine?: string; group: string[] }) =>
    (await import('./tokens.ts')).issueToken(client(), name, o),
  )
token
  .command('list')
  .description('list your tokens')
  .option('--all', 'those of everybody, and of machines')
  .action(async (o: { all?: boolean }) => (await import('./tokens.ts')).listTokens(client(), o))
token
  .command('revoke <token>')
  .description('revoke a token now')
  .action(async (id: string) => (await import('./tokens.ts')).revokeToken(client(), id))

program
  .command('subjects [name]')
  .description('people and machines that are known here')
  .action(async (name?: string) => (await import('./subjects.ts')).listSubjects(client(), name))
const subject = program.command('subject').description('one person or machine')
for (const [what, means] of [
  ['disable', 'end what lives of theirs, and let nothing new begin'],
  ['enable', 'let them act again'],
] as const) {
  subject
    .command(`${what} <name>`)
    .description(means)
    .requiredOption('-m, --reason <text>', 'why')
    .action(async (name: string, o: { reason: string }) =>
      (await import('./subjects.ts')).setDisabled(client(), name, what, o.reason),
    )
}

program
  .command('serve')
  .description('run the roles of a deployment')
  .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
  .option('--roles <list>', 'control, gateway, replay; several with commas', 'control,gateway,replay')
  .action(async (o: { config?: string; roles: string }) => (await import('./serve.ts')).serve(o))
program
  .command('migrate')
  .description('bring the database up to date and set the rights of its three users')
  .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
  .action(async (o: { config?: string }) => (await import('./serve.ts')).migrateDatabase(o))
program
  .command('keys')
  .description('make the root key files and recording keys that the configuration names, where they are missing')
  .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
  .action(async (o: { config?: string }) => (await import('./serve.ts')).makeKeys(o))
program
  .command('recover <source>')
  .description('put a local policy folder, or REPOSITORY@COMMIT, into force for an hour at most (on the control host)')
  .requiredOption('-m, --reason <text>', 'why; everybody reads it')
  .option('--for <duration>', 'for how long, one hour at most', '15m')
  .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
  .action(async (source: string, o: { config?: string; for: string; reason: string }) =>
    (await import('./recover.ts')).recoverPolicy(source, { ...o, for_s: seconds(o.for) }),
  )
program
  .command('dev')
  .description('the whole system on this machine, with a demo target: what `npm start` runs')
  .action(async () => (await import('./dev.ts')).dev())

/** Commands that protocols bring. Their code is loaded only where nothing above is meant. */
async function addProtocolCommands(): Promise<void> {
  const { allProtocols } = await import('../protocols/all.ts')
  for (const command of allProtocols.flatMap(each => each.commands ?? [])) {
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
