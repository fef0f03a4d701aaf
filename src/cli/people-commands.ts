import type { Command } from 'commander'
import type { Client } from './client.ts'

const collect = (value: string, all: string[] = []) => [...all, value]

/** People, machines and their tokens. */
export function addPeopleCommands(program: Command, client: () => Client): void {
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
}
