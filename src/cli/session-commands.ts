import type { Command } from 'commander'
import type { VerifyCommand } from './audit.ts'
import type { Client } from './client.ts'
import type { EvidenceCommand } from './evidence.ts'
import type { SearchOptions } from './search.ts'
import type { ReplayOptions, ShowOptions } from './sessions.ts'

/** Sessions and what was recorded of them. */
export function addSessionCommands(program: Command, client: () => Client): void {
  const sessions = program
    .command('sessions')
    .description('sessions, newest first')
    .option('--subject <who>', "of one subject: id, name, e-mail or the identity provider's name")
    .option('--resource <name>', 'on one resource')
    .option('--state <state>', 'live or ended')
    .option('--since <time>', 'opened after this time (ISO 8601)')
    .option('--limit <n>', 'at most so many', '50')
    .action(async (o: Record<string, string>) => (await import('./sessions.ts')).listSessions(client(), o))
  sessions
    .command('search <text...>')
    .description(
      'statements, commands, paths, requests and errors of sessions that you may open; all words, the last from its beginning',
    )
    .option('--subject <who>', "of one subject: id, name, e-mail or the identity provider's name")
    .option('--resource <name>', 'on one resource')
    .option('--session <id>', 'in one session')
    .option('--from <time>', 'since then (ISO 8601, or 7d for so long ago)')
    .option('--to <time>', 'before then')
    .option('--before <number>', 'what is older than this one: the page after')
    .option('--limit <n>', 'at most so many', '25')
    .option('--json', 'as JSON Lines')
    .action(async (text: string[], _: unknown, command: Command) =>
      (await import('./search.ts')).searchSessions(client(), text.join(' '), command.optsWithGlobals<SearchOptions>()),
    )
  program
    .command('end <session>')
    .description('end a live session now')
    .requiredOption('-m, --reason <text>', 'why')
    .action(async (id: string, o: { reason: string }) =>
      (await import('./sessions.ts')).endSession(client(), id, o.reason),
    )
  program
    .command('replay <session>')
    .description('replay a recording')
    .option('--speed <factor>', 'how many times faster than it happened', '1')
    .option('--max-pause <seconds>', 'the longest pause', '3')
    .option('--terminal', 'play its terminal alone; where it is one, that is what happens anyway')
    .option('--channel <channel>', 'which terminal: its number, or CONNECTION:NUMBER as --channels lists them')
    .option('--channels', 'list the channels of all connections, and play none')
    .option('--text', 'all at once, as text')
    .option('--json', 'all at once, as JSON Lines')
    .option('--asciicast', 'one terminal as asciicast v2, for asciinema')
    .option('--html', 'as one HTML page for people, which runs and loads nothing')
    .option('-o, --output <file>', 'where the asciicast or the page goes; default standard output')
    .option('--view <view>', 'masked, or clear: with the originals that policy had sealed; needs a reason')
    .option('-m, --reason <text>', 'why you look at it, where policy asks')
    .action(async (id: string, o: Omit<ReplayOptions, 'speed'> & { speed: string; maxPause: string }) =>
      (await import('./sessions.ts')).replay(client(), id, {
        ...o,
        speed: Number(o.speed),
        max_pause_s: Number(o.maxPause),
      }),
    )
  program
    .command('tail <session>')
    .description('follow a live session; where it waits for a moderator, this is what it waits for')
    .option('--text', 'as text, also where it is a terminal')
    .option('--terminal', 'its terminal alone')
    .option('--channel <channel>', 'which terminal: its number, or CONNECTION:NUMBER')
    .option('--json', 'as JSON Lines')
    .option('-m, --reason <text>', 'why you look at it, where policy asks')
    .action(async (id: string, o: ShowOptions) => (await import('./sessions.ts')).tail(client(), id, o))
}

/** What outsiders check. */
export function addEvidenceCommands(program: Command, client: () => Client): void {
  program
    .command('evidence')
    .description('one archive of everything about a session, a request or a subject, which verifies with no network')
    .option('--session <id>', 'about one session')
    .option('--request <id>', 'about one request, with its sessions')
    .option('--subject <who>', 'about one subject (id, name or e-mail), with --from and --to')
    .option('--from <time>', 'since then (ISO 8601, or 7d for so long ago)')
    .option('--to <time>', 'before then; default now')
    .option('-o, --output <file>', 'where to; default evidence-ID.tar')
    .option('--key <vkey>', 'the log key you trust: the bundle is verified with it before it is kept')
    .option('--witness <vkey>', 'the key of a witness you trust; as often as there are', collected)
    .action(async (o: EvidenceCommand) => {
      process.exitCode = await (await import('./evidence.ts')).evidence(client(), o)
    })
  program
    .command('verify <file>')
    .description('check a bundle of evidence or a proof with no network and no server')
    .option('--key <vkey>', 'the log key you trust, from outside this file')
    .option(
      '--witness <vkey>',
      'the key of a witness you trust, from outside this file; as often as there are',
      collected,
    )
    .option('--recompute', 'compute every decision of a bundle again too, with the command opa as second judge')
    .action(async (file: string, o: VerifyCommand) => {
      process.exitCode = await (await import('./audit.ts')).verifyFile(file, o)
    })
}

const collected = (value: string, before: string[] = []): string[] => [...before, value]
