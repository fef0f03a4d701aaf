import type { Command } from 'commander'
import type { Client } from './client.ts'

/** `sallyport audit …` */
export function addAuditCommands(program: Command, client: () => Client): void {
  const audit = program.command('audit').description('the audit log')
  audit
    .command('verify')
    .description('check the whole log: every leaf, every chain, every checkpoint, also outside (on the control host)')
    .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
    .option('--key <vkey>', 'a key of the log that you trust; handovers from it are followed')
    .action(async (o: { config?: string; key?: string }) => {
      process.exitCode = await (await import('./audit.ts')).verifyAudit(o)
    })
  audit
    .command('resume')
    .description('after a restore from backup: a signed, visible break (on the control host)')
    .requiredOption(
      '--from <checkpoint>',
      'the last checkpoint that is kept anywhere, which is given up: its size, or a file',
    )
    .requiredOption('-m, --reason <text>', 'why')
    .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
    .action(async (o: { config?: string; from: string; reason: string }) => (await import('./audit.ts')).resumeAudit(o))
  audit
    .command('rotate-key')
    .description('hand the log over to a new checkpoint key; both keys sign (on the control host)')
    .requiredOption('-m, --reason <text>', 'why')
    .option('--from <file>', 'the old root key file of control, where it was replaced')
    .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
    .action(async (o: { config?: string; from?: string; reason: string }) => (await import('./audit.ts')).rotateKey(o))
  audit
    .command('consistency')
    .description('write a proof that the log only grew, which `sallyport verify` checks offline')
    .requiredOption('--from <checkpoint>', 'the older checkpoint: its size, or a file')
    .option('--to <checkpoint>', 'the newer one; default the newest')
    .option('-o, --output <file>', 'where to; default log-FROM-TO.proof.json')
    .action(async (o: { from: string; to?: string; output?: string }) =>
      (await import('./audit.ts')).consistency(client(), o),
    )
  audit
    .command('events')
    .description('list events, newest first')
    .option('--type <type>', 'of one type')
    .option('--session <id>', 'of one session')
    .option('--subject <id>', 'of one subject')
    .option('--limit <n>', 'at most so many', '50')
    .action(async (o: Record<string, string>) => (await import('./audit.ts')).listEvents(client(), o))
  audit
    .command('prove <event>')
    .description('write a proof that `sallyport verify` checks offline')
    .option('-o, --output <file>', 'where to; default EVENT.proof.json')
    .action(async (id: string, o: { output?: string }) => (await import('./audit.ts')).prove(client(), id, o))
}
