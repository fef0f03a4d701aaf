import type { Command } from 'commander'
import { seconds } from './output.ts'

/** What is run on the hosts of a deployment. */
export function addHostCommands(program: Command): void {
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
    .description(
      'put a local policy folder, or REPOSITORY@COMMIT, into force for an hour at most (on the control host)',
    )
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
}
