import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { through } from '../../../src/protocols/ssh/client.ts'
import type { ConformanceKit, Issued } from '../conformance.ts'
import { sshKit } from '../ssh/conformance-kit.ts'
import { type GatewayWorld, gitEnv, run } from './world.ts'

const folder = mkdtempSync('/tmp/sallyport-git-kit-')
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
const bare = join(folder, 'app.git')
const seed = join(folder, 'seed')
const frobnicate = 'frobnicate'

let made: Promise<void> | undefined
const prepared = () => (made ??= prepare())

async function prepare(): Promise<void> {
  const git = async (cwd: string, ...args: string[]) => {
    const { code, stderr } = await run(['git', ...args], cwd, gitEnv(folder))
    if (code !== 0) throw new Error(stderr)
  }
  await git(folder, 'init', '--quiet', '--bare', bare)
  await git(folder, 'init', '--quiet', seed)
  writeFileSync(join(seed, 'README'), 'one\n')
  await git(seed, 'add', '.')
  await git(seed, 'commit', '--quiet', '-m', 'one')
  await git(seed, 'push', '--quiet', bare, 'HEAD:main')
}

function client(world: GatewayWorld, port: number, issued: Issued) {
  const own = mkdtempSync(join(world.folder, 'ticket-'))
  const home = join(own, 'home')
  mkdirSync(home)
  const ticket = {
    ...issued,
    secret: issued.secret as never,
    host: '127.0.0.1',
    port,
    ca_file: '',
    expires_at_ms: 0,
    folder: own,
  }
  return { ssh: through(ticket, 'web-1'), home, own }
}

const words: Readonly<Record<string, readonly string[]>> = {
  'ls-remote': ['git', 'ls-remote', 'web-1:app.git'],
  archive: ['git', 'archive', '--remote=web-1:app.git', 'main'],
  push: ['git', 'push', 'web-1:app.git', 'HEAD:refs/heads/refused'],
}

/** Git by its own client, over the demo server as a git resource. */
export const gitKit: ConformanceKit = {
  world: { web: ['AcceptEnv GIT_PROTOCOL'] },
  edits: [
    ['resources/data.yaml', '  protocol: ssh\n', '  protocol: git\n'],
    [
      'resources/data.yaml',
      '  options:\n    host_keys:',
      `  options:\n   repositories: { app: { path: ${bare} } }\n   carrier:\n    host_keys:`,
    ],
    // Archives need the word of a database administrator here.
    [
      'action/git.rego',
      '$"{input.action.facts.ref} is a release: two release managers look at it first"',
      '"an archive leaves the house"',
    ],
    ['action/git.rego', '\tis_push\n\tinput.role != "break-glass"\n\treleases\n', '\tinput.action.kind == "archive"\n'],
    [
      'action/git.rego',
      '[{"approvers": [people.release_managers], "quorum": 2, "channel": "releases"}] if releases',
      '[{"approvers": ["dbas"], "quorum": 1, "channel": "releases"}] if input.action.kind == "archive"',
    ],
  ],
  resource: 'web-1',
  role: 'reader',
  run: async (world, port, issued, action) => {
    await prepared()
    const { ssh, home } = client(world, port, issued)
    const { stdout, stderr } = await run(words[action]!, seed, { ...gitEnv(home), GIT_SSH_COMMAND: ssh.join(' ') })
    return stdout + stderr
  },
  open: async (world, port, issued) => {
    await prepared()
    const { ssh, home, own } = client(world, port, issued)
    const control = join(own, 'control')
    const child = spawn(ssh[0]!, [...ssh.slice(1), '-M', '-S', control, '-N', 'web-1'], { env: gitEnv(home) })
    let told = ''
    child.stderr.on('data', chunk => (told += chunk))
    const ended = new Promise<string>(resolve => child.once('close', () => resolve(told)))
    for (let i = 0; i < 200 && !existsSync(control) && child.exitCode === null; i++) await sleep(50)
    const through = [...ssh, '-S', control]
    const act = async (action: string) => {
      const env = { ...gitEnv(home), GIT_SSH_COMMAND: through.join(' '), GIT_SSH_VARIANT: 'ssh' }
      const argv = action === frobnicate ? [...through, 'web-1', frobnicate] : words[action]!
      const { code, stdout, stderr } = await run(argv, seed, env)
      if (code !== 0) throw new Error(stderr)
      return stdout
    }
    await act('ls-remote') // ssh says that it is in before the gateway has opened the way
    return { act, ended }
  },
  allowed: { action: 'ls-remote', answers: 'refs/heads/main' },
  denied: {
    action: 'push',
    happened: async () => (await run(['git', 'rev-parse', 'refs/heads/refused'], bare, gitEnv(folder))).code === 0,
  },
  held: { action: 'archive', answers: 'README' },
  notUnderstood: frobnicate,
  recorded: ['connected', 'channel_open', 'statement', 'exit', 'disconnected'],
  hostile: sshKit.hostile,
}
