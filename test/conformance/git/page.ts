import type { Compared } from './compare.ts'

export interface Facts {
  readonly date: string
  readonly machine: string
  readonly version: string
  readonly minutes: number
  readonly compared: readonly Compared[]
}

/** The generated page. */
export function page({ date, machine, version, minutes, compared }: Facts): string {
  const sum = (of: (each: Compared) => number) => compared.reduce((total, each) => total + of(each), 0)
  const ran = compared.filter(each => each.direct.skipped === null)
  const served = ran.filter(each => each.direct.asked > 0)
  const alone = ran.filter(each => each.direct.asked === 0)
  const left = compared.filter(each => each.direct.skipped !== null)
  const differences = compared.flatMap(each => each.differences)
  const whys = [...new Set(differences.map(each => each.reason?.why ?? '**not explained**'))]
  const lines = [
    "# Git's own test scripts",
    '',
    `*Written by \`npm run conformance -- git\` on ${date}; do not edit.* Machine: ${machine}; ${minutes} minutes. Git ${version}, client and server.`,
    '',
    "Git's scripts for fetch and push (`t/t55*.sh` of the sources of the installed git) run twice: their clients reach a real sshd straight, and through the gateway with a",
    'policy that allows everything. The scripts know repositories on this machine only, so the programs that git starts for a server (`git-upload-pack`, `git-receive-pack`,',
    "`git-upload-archive`) go over SSH to the server's own program in the same folder, both times alike. What differs between the two runs is listed below, and only that.",
    '',
    `**${served.length} scripts asked a server, ${sum(each => each.direct.asked)} times straight and ${sum(each => each.through.asked)} times through the gateway: ${sum(each => each.same.pass)} tests pass both times, ${sum(each => each.same.fail)} fail both times, ${sum(each => each.same.known)} are known to fail by their own word, ${sum(each => each.same.skipped)} are skipped both times, ${differences.length} differ.**`,
    '',
    '| script | asked a server | pass | fail both times | known to fail | skipped | differ | s direct | s through |',
    '|---|---|---|---|---|---|---|---|---|',
    ...served.map(
      ({ script, direct, through, same, differences: own }) =>
        `| ${script} | ${direct.asked} | ${same.pass} | ${same.fail || ''} | ${same.known || ''} | ${same.skipped || ''} | ${own.length || ''} | ${Math.round(direct.seconds)} | ${Math.round(through.seconds)} |`,
    ),
    '',
    '## What differs',
    '',
    ...(whys.length === 0 ? ['Nothing.'] : []),
    ...whys.flatMap(why => [
      `- ${why}`,
      ...differences
        .filter(each => (each.reason?.why ?? '**not explained**') === why)
        .map(
          each =>
            `  - ${each.script} ${each.number}, *${inText(each.title)}*: ${each.direct}, ${each.through} through the gateway`,
        ),
    ]),
    '',
    '## What asked no server',
    '',
    `Everything in them happens on one machine, or over another transport: ${alone.map(each => each.script.replace('.sh', '')).join(', ') || 'none'}.`,
    '',
    `Left out by themselves here: ${left.map(each => `${each.script.replace('.sh', '')} (${each.direct.skipped})`).join(', ') || 'none'}.`,
    '',
  ]
  return lines.join('\n')
}

function inText(text: string): string {
  return text.replaceAll(/[*_`|<]/g, '\\$&')
}
