import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createGitWorld } from '../../protocols/git/world.ts'
import { makeWay, serverProgram, slotName, slots, type Way } from './way.ts'

/** Where git's scripts change refs; nobody needs all of them, and none of them is open by itself. */
const namespaces = [
  'heads',
  'tags',
  'remotes',
  'notes',
  'for',
  'review',
  'pull',
  'changes',
  'hidden',
  'nested',
  'other',
  'tmp',
]

export interface ScriptWorld {
  /** The same sshd: straight, and through the gateway. */
  readonly ways: readonly [Way, Way]
  /** A session of its own for what comes now. */
  renew(): Promise<void>
  close(): Promise<void>
}

/** A gateway before a real sshd. The policy lets the role `admin` do everything. */
export async function startScriptWorld(): Promise<ScriptWorld> {
  const repositories = Array.from(
    { length: slots },
    (_, i) => `  ${slotName('gateway', i)}: { path: ${slotName('gateway', i)} }`,
  )
  const world = await createGitWorld(
    () => [
      {
        name: 'forge',
        options: `namespaces: [${namespaces.map(each => `refs/${each}/`).join(', ')}]\nrepositories:\n${repositories.join('\n')}\n`,
      },
    ],
    serverProgram,
    [['action/git.rego', 'is_push if {\n\tis_git\n', 'is_push if {\n\tis_git\n\tinput.role != "admin"\n']],
  )
  const straight = makeWay(world.folder, 'direct')
  const through = makeWay(world.folder, 'gateway')
  const web = world.world.web!
  const key = join(world.folder, 'key')
  const made = spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key], { encoding: 'utf8' })
  if (made.status !== 0) throw new Error(`ssh-keygen: ${made.stderr}`)
  web.authorize(readFileSync(`${key}.pub`, 'utf8').trim())
  writeFileSync(join(world.folder, 'known_hosts'), `[127.0.0.1]:${web.port} ${web.hostKey}\n`)
  const options = [
    `Port=${web.port}`,
    `User=${web.login}`,
    `IdentityFile=${key}`,
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'BatchMode=yes',
    `UserKnownHostsFile=${join(world.folder, 'known_hosts')}`,
  ]
  straight.through(['ssh', '-F', '/dev/null', ...options.flatMap(each => ['-o', each])], '127.0.0.1')
  return {
    ways: [straight, through],
    renew: async () => through.through((await world.git('forge', 'admin')).words, 'forge'),
    close: () => world.close(),
  }
}
