import type { Command } from 'commander'
import type { Client } from './client.ts'
import { seconds } from './output.ts'

/** Asking, answering, connecting, and looking afterwards. */
export function addAccessCommands(program: Command, client: () => Client, profile: () => { profile?: string }): void {
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
    .command('show-request <request>')
    .description('one request: who asks for what, and how it stands; of an action that waits, what would be done')
    .action(async (id: string) => (await import('./access.ts')).showRequest(client(), id))
  program
    .command('approve <request>')
    .description('approve a request: access, or one action that waits')
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
}
