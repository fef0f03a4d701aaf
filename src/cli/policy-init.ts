import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { SallyportError } from '../errors.ts'
import { plain, say } from './output.ts'

/** Writes a new policy repository: starter policies, tests, schemas, editor setup and pipeline. Needs no server. */
export async function initRepository(folder: string): Promise<void> {
  const { newRepository } = await import('../policy/starter/repository.ts')
  const { allProtocols } = await import('../protocols/all.ts')
  const { Registry } = await import('../gateway/registry.ts')
  if (existsSync(folder) && readdirSync(folder).some(name => name !== '.git')) {
    throw new SallyportError('conflict', `${folder} is not empty`, {
      remedy: 'name a folder that is empty or not there',
    })
  }
  const files = newRepository(new Registry(allProtocols).schemas())
  for (const [path, content] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content, { flag: 'wx' })
  }
  const git = makeGit(folder)
  const at = plain(folder)
  say(`${files.size} files in ${at}${git ? ', a git repository with nothing committed yet' : ''}. Next:`)
  say(`  1. read ${at}/README.md`)
  say(`  2. declare what there is in resources/data.yaml, and who may ask for it in roles/data.yaml`)
  say(`  3. sallyport policy check ${at} && sallyport policy test ${at}`)
  say('  4. commit, push, and name the repository as `policy.source` in the configuration')
}

/** A folder inside of another repository stays part of that one. @returns whether one was made. */
function makeGit(folder: string): boolean {
  const git = (...args: string[]) => spawnSync('git', ['-C', folder, ...args], { encoding: 'utf8' })
  const inside = git('rev-parse', '--is-inside-work-tree')
  if (inside.error !== undefined || inside.status === 0) return false
  return git('init', '--quiet', '--initial-branch=main').status === 0
}
