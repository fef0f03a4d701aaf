import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type OldFault, oldFaults } from '../options.ts'
import { PushFault } from '../push.ts'
import type { Ended } from './confined.ts'
import { type Git, whyGit } from './git.ts'
import { lastErrors } from './intake.ts'
import { type Sources, seen } from './special.ts'

export interface Old {
  /** Of the resource: faults that are let be. */
  readonly ignore: readonly OldFault[]
  readonly resource: string
  /** Empty: a repository without refs is made in it. */
  readonly folder: string
  readonly timeout_ms: number
}

const mostText = 8 << 20
const missing = ['gitmodulesMissing', 'gitattributesMissing'] as const
const isOld = (id: string): id is OldFault => oldFaults.some(each => each === id)

/**
 * `index-pack` ends at the first fault that it finds, and before git 2.44 lets nobody leave one out; `git fsck` tells all of them, and
 * leaves out what it is told to. It looks at files as well, and so it is asked only where `ended` names an old fault. @throws PushFault
 */
export async function lookAgain(git: Git, ended: Ended, how: Old & Sources): Promise<void> {
  const [, first = ''] = /^error: object [0-9a-f]{40,64}: (\w+): /m.exec(ended.stderr) ?? []
  if (!isOld(first)) throw cannot(whyGit({ ...ended, stderr: lastErrors(ended.stderr) }))
  const repository = join(how.folder, 'old')
  mkdirSync(join(repository, 'refs'), { recursive: true, mode: 0o700 })
  writeFileSync(join(repository, 'HEAD'), 'ref: refs/heads/main\n')
  copyFileSync(join(git.place.repository, 'config'), join(repository, 'config')) // says whether ids are SHA-256
  // `index-pack` ended before it told them.
  const named = missingIn((await fsck(git, repository, how, [])).stderr)
  const here = named.size === 0 ? new Set<string>() : await seen(git, named, how)
  const run = await fsck(git, repository, how, missing)
  if (run.status === 0 && run.cut === undefined)
    how.harmless.add([...named].flatMap(([name, id]) => (here.has(id) ? name : [])))
  if (run.status === 0 && run.cut === undefined) return
  const faults = faultsIn(run.stderr)
  throw run.cut !== undefined || faults.size === 0 ? cannot(whyGit(run)) : refused(faults, how)
}

/** Every object of the quarantine, and no others. */
function fsck(git: Git, repository: string, { ignore, timeout_ms }: Old, also: readonly string[]): Promise<Ended> {
  const args = ['fsck', '--strict', '--full', '--no-dangling', '--no-reflogs', '--no-progress']
  return git.try(args, {
    alone: true,
    env: { GIT_DIR: repository },
    // What git keeps beside objects is not here, and it would start a child for each.
    config: [
      ['core.commitGraph', 'false'],
      ['core.multiPackIndex', 'false'],
      ...[...also, ...ignore].map(id => [`fsck.${id}`, 'ignore'] as const),
    ],
    timeout_ms,
    max_output: mostText,
    max_stderr: mostText,
  })
}

/** Files that git itself reads and the quarantine does not have: ids by name and id, as `unseenIn` tells them. */
function missingIn(stderr: string): ReadonlyMap<string, string> {
  const faults = faultsIn(stderr)
  return new Map(
    missing.flatMap(what =>
      [...(faults.get(what) ?? [])].map(id => [`${what.replace('Missing', '')} ${id}`, id] as const),
    ),
  )
}

type Faults = ReadonlyMap<string, ReadonlySet<string>>

/** Which objects have which fault. */
function faultsIn(stderr: string): Faults {
  const faults = new Map<string, Set<string>>()
  for (const [, id, what] of stderr.matchAll(/^error in \w+ ([0-9a-f]{40,64}): (\w+): /gm))
    faults.set(what!, (faults.get(what!) ?? new Set()).add(id!))
  return faults
}

function refused(faults: Faults, { ignore, resource }: Old): PushFault {
  const say = ([what, ids]: [string, ReadonlySet<string>]) =>
    `${what} in ${ids.size === 1 ? '' : `${ids.size} objects, such as `}${[...ids][0]!.slice(0, 12)}`
  const old = [...faults.keys()].filter(isOld)
  // What harms somebody comes first: nobody is told of a remedy that would not be enough.
  const other = [...faults].filter(([what]) => !isOld(what))
  if (other.length > 0) return cannot(other.map(say).join('; '))
  const all = oldFaults.filter(each => ignore.includes(each) || old.includes(each))
  return cannot(
    [...faults].map(say).join('; '),
    `programs of years ago wrote such objects, and git reads them: to take them, whoever keeps the policy writes \`push: { fsck: { ignore: [${all.join(', ')}] } }\` into the options of ${resource} (resources/data.yaml)`,
  )
}

const cannot = (why: string, remedy = 'look at it with `git fsck --strict`, and push again'): PushFault =>
  new PushFault('bad_pack', `the pack cannot be taken: ${why}`, remedy)
