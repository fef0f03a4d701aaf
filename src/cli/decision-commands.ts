import type { Command } from 'commander'
import type { Client } from './client.ts'
import type { VerifyDecisionCommand } from './verify-decision.ts'

/** The decision log, proofs, and what would be answered. */
export function addDecisionCommands(program: Command, client: () => Client): void {
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
    .description(
      'compute a decision again from its commit, and say what that proves; a file of --output needs no server',
    )
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
}
