import type { Command } from 'commander'

/** `sallyport recording export` and `open`: sealed recordings as files. */
export function addRecordingCommands(recording: Command): void {
  recording
    .command('export <session>')
    .description('copy a sealed recording into a folder, still sealed (on the replay host)')
    .requiredOption('-o, --output <folder>', 'a new folder')
    .requiredOption('-m, --reason <text>', 'why; it stands in the audit log')
    .option('-c, --config <file>', 'configuration file (SALLYPORT_CONFIG)')
    .action(async (id: string, o: { output: string; reason: string; config?: string }) =>
      (await import('./recording.ts')).exportSealed(id, o),
    )
  recording
    .command('open <folder>')
    .description('check and show an exported recording with no server and no network')
    .requiredOption('-i, --identity <file>', 'age identity of one of its recipients; may be given again', collect)
    .option('--json', 'as JSON Lines')
    .action(async (folder: string, o: { identity: string[]; json?: boolean }) => {
      process.exitCode = await (await import('./recording.ts')).openSealed(folder, o)
    })
}

const collect = (value: string, all: string[] = []) => [...all, value]
