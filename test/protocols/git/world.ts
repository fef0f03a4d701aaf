import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import { parse } from 'yaml'
import type { SubjectFacts } from '../../../src/policy/points.ts'
import { client } from '../../../src/protocols/git/client.ts'
import { through } from '../../../src/protocols/ssh/client.ts'
import { sessions } from '../../../src/sessions/schema.ts'
import type { Edit } from '../../approvals/world.ts'
import { createGatewayWorld, type GatewayWorld } from '../../gateway/world.ts'

/** Database administrators have these roles without asking: what is tested here begins behind that. */
export const standing: Edit = [
  'access/access.rego',
  'input.role == "reader"\n\t"dbas" in',
  'input.role in {"reader", "writer", "admin"}\n\t"dbas" in',
]

const names = '    - names: [forge, gitolite]\n      max_s: 3600\n'
const roles: readonly Edit[] = [
  [
    'roles/data.yaml',
    'max_s: 28800\n  writer:\n    - labels: { env: staging, class: customer-data }\n      max_s: 14400\n',
    `max_s: 28800\n  writer:\n    - labels: { env: staging, class: customer-data }\n      max_s: 14400\n${names}`,
  ],
  ['roles/data.yaml', `${names}  admin:\n`, `${names}  admin:\n${names}`],
]

export interface Said {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Settings of no machine and no person. */
export function gitEnv(home: string): NodeJS.ProcessEnv {
  const author = {
    GIT_AUTHOR_NAME: 'Ada',
    GIT_AUTHOR_EMAIL: 'ada@example.test',
    GIT_COMMITTER_NAME: 'Ada',
    GIT_COMMITTER_EMAIL: 'ada@example.test',
  }
  return {
    PATH: process.env['PATH'],
    HOME: home,
    LC_ALL: 'C.UTF-8',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_COUNT: '2',
    GIT_CONFIG_KEY_0: 'init.defaultBranch',
    GIT_CONFIG_VALUE_0: 'main',
    GIT_CONFIG_KEY_1: 'advice.detachedHead',
    GIT_CONFIG_VALUE_1: 'false',
    GIT_TERMINAL_PROMPT: '0',
    ...author,
  }
}

export function run(argv: readonly string[], cwd: string, env: NodeJS.ProcessEnv, input = ''): Promise<Said> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0]!, argv.slice(1), { cwd, env })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', chunk => (stdout += chunk))
    child.stderr.on('data', chunk => (stderr += chunk))
    child.stdin.on('error', () => {}).end(input)
    child.once('error', reject)
    child.once('close', code => resolve({ code, stdout, stderr }))
  })
}

/** What stands in resources/data.yaml for one git server. */
export interface Forge {
  readonly name: string
  readonly options: string
}

/** A gateway with real git servers behind Debian's sshd, which runs each command by `shell`. */
export async function createGitWorld(
  forges: (folder: string) => readonly Forge[],
  shell: (folder: string) => string,
  edits: readonly Edit[] = [],
  settings: readonly string[] = [],
) {
  const scripts = mkdtempSync('/tmp/sallyport-git-')
  const serve = join(scripts, 'serve')
  writeFileSync(serve, shell(scripts), { mode: 0o755 })
  const world = await createGatewayWorld({ web: ['AcceptEnv GIT_PROTOCOL', `ForceCommand ${serve}`, ...settings] })
  const gateway = await world.gateway()
  const web = world.web!
  const entries = forges(scripts).map(
    ({ name, options }) => `
${name}:
  protocol: git
  address: 127.0.0.1:${web.port}
  labels:
    env: staging
    class: repository
  options:
    carrier:
      host_keys:
        - ${web.hostKey}
      login: { reader: ${web.login}, writer: ${web.login}, admin: ${web.login} }
      auth: { kind: certificate }
${options.replaceAll(/^/gm, '    ')}
`,
  )
  const place: Edit = ['resources/data.yaml', '\nweb-1:\n', `${entries.join('')}\nweb-1:\n`]
  const activate = (...more: Edit[]) => world.activate(place, standing, ...roles, ...edits, ...more)
  await activate()
  const person: SubjectFacts = await world.person('ada', ['dbas'])
  const port = gateway.portOf('ssh')

  /** The real git of one ticket. */
  const optionsOf = new Map(forges(scripts).map(({ name, options }) => [name, parse(options)]))

  async function git(resource = 'forge', role = 'writer', subject = person, at = port) {
    const issued = await world.ticket(subject, role, resource)
    const folder = mkdtempSync(join(world.folder, 'ticket-'))
    const options = optionsOf.get(resource)
    const ticket = {
      ...issued,
      secret: issued.secret as never,
      resource: { name: resource, protocol: 'git', host: '127.0.0.1', port: at, labels: {}, secret: null, options },
      role,
      host: '127.0.0.1',
      port: at,
      ca_file: '',
      expires_at_ms: 0,
      folder,
    }
    const words = through(ticket, resource)
    const home = join(folder, 'home')
    mkdirSync(home)
    const command = client(ticket, [], words)
    const env = { ...gitEnv(home), ...command.env }
    const inside = (cwd: string, ...args: string[]) => run(client(ticket, args, words).argv, cwd, env)
    const ssh = (...args: string[]) => run([...words, ...args], home, env)
    return Object.assign(inside, { env, ssh, home, issued, words })
  }

  const sessionOf = async (issued: { readonly id: string }) =>
    (await world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id)))[0]!.id
  const close = async () => {
    await world.close()
    rmSync(scripts, { recursive: true, force: true })
  }
  return { world, gateway, person, git, port, activate, sessionOf, folder: scripts, close }
}

export type GitWorld = Awaited<ReturnType<typeof createGitWorld>>
export type { GatewayWorld }
