import type { Command } from 'commander'
import type { Client } from './client.ts'
import type { ImpactCommand } from './impact.ts'
import type { FolderOptions } from './policy.ts'

const collect = (value: string, all: string[] = []) => [...all, value]

/** The policy repository: offline, on the server, and what a change would do. */
export function addPolicyCommands(program: Command, client: () => Client): void {
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
    .action(async (o: { limit: string; before?: string }) =>
      (await import('./policy-steering.ts')).history(client(), o),
    )
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
}
