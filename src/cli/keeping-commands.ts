import type { Command } from 'commander'
import type { Client } from './client.ts'
import { addRecordingCommands } from './recording-commands.ts'

/** Commands about what is kept: holds, retention, erasure, stores, backups. Each loads its own code when it runs. */
export function addKeepingCommands(program: Command, client: () => Client): void {
  program
    .command('hold <session...>')
    .description('set a legal hold: the recordings are not deleted while it stands')
    .requiredOption('-m, --reason <text>', 'why')
    .option('--case <case>', 'the case it belongs to, so that all of it can be lifted together')
    .action(async (ids: string[], o: { reason: string; case?: string }) =>
      (await import('./sessions.ts')).setHold(client(), ids, o),
    )
  program
    .command('unhold [session...]')
    .description('lift the legal holds of recordings, or of a case')
    .requiredOption('-m, --reason <text>', 'why')
    .option('--case <case>', 'the holds of this case only; without sessions all of it')
    .action(async (ids: string[], o: { reason: string; case?: string }) =>
      (await import('./sessions.ts')).liftHold(client(), ids, o),
    )
  program
    .command('holds')
    .description('legal holds that stand')
    .option('--case <case>', 'of this case')
    .action(async (o: { case?: string }) => (await import('./sessions.ts')).listHolds(client(), o))

  const retention = program.command('retention').description('how long things are kept, and what goes when')
  retention
    .command('preview')
    .description('what the next run would delete; nothing is deleted')
    .option('--at <time>', 'as of then (ISO 8601)')
    .option('--json', 'as JSON')
    .action(async (o: { at?: string; json?: boolean }) => (await import('./retention.ts')).preview(client(), o))
  retention
    .command('floor [class]')
    .description('the shortest time that a class is kept, whatever policy says; raising takes one person, lowering two')
    .option('--keep <duration>', 'the new floor (30d)')
    .option('-m, --reason <text>', 'why')
    .action(async (name: string | undefined, o: { keep?: string; reason?: string }) =>
      (await import('./retention.ts')).floor(client(), name, o),
    )
  program
    .command('erase')
    .description("propose to erase one person's content: recordings, what events and decisions say of them, their name")
    .requiredOption('--subject <who>', 'id, name or e-mail address; disabled before')
    .option('-m, --reason <text>', 'why; needed but for a dry run')
    .option('--dry-run', 'count what would go, and propose nothing')
    .action(async (o: { subject: string; reason?: string; dryRun?: boolean }) =>
      (await import('./retention.ts')).erase(client(), o),
    )
  program
    .command('proposals')
    .description('what one person proposed and another confirms')
    .option('--all', 'those that are over, too')
    .action(async (o: { all?: boolean }) => (await import('./retention.ts')).listProposals(client(), o))
  program
    .command('confirm <proposal>')
    .description("confirm what somebody else proposed; it cannot be one's own")
    .action(async (id: string) => (await import('./retention.ts')).confirm(client(), id))
  program
    .command('refuse <proposal>')
    .description('refuse what was proposed, or take back your own')
    .option('-m, --reason <text>', 'why')
    .action(async (id: string, o: { reason?: string }) =>
      (await import('./retention.ts')).refuse(client(), id, o.reason),
    )

  const recording = program.command('recording').description('the stores of recordings, and sealed recordings as files')
  addRecordingCommands(recording)
  recording
    .command('move')
    .description('move everything from recording.former_stores into recording.store; safe to stop and to run again')
    .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
    .action(async (o: { config?: string }) => {
      process.exitCode = await (await import('./stores.ts')).moveStores(o)
    })
  program
    .command('backup')
    .description('everything but keys and secrets, as of one moment, into a new folder (on a control host)')
    .requiredOption('--to <folder>', 'a new folder')
    .option('--no-recordings', 'leave recordings out, where their folder is backed up otherwise')
    .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
    .action(async (o: { to: string; recordings: boolean; config?: string }) => (await import('./backup.ts')).backup(o))
  program
    .command('restore')
    .description('a backup into an empty database; what follows is `sallyport audit resume`')
    .requiredOption('--from <folder>', 'the folder of the backup')
    .option('--keep-tokens', 'API tokens stay good, also those that were revoked since')
    .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
    .action(async (o: { from: string; keepTokens?: boolean; config?: string }) =>
      (await import('./backup.ts')).restore(o),
    )
}
