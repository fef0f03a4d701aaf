import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createGitWorld, gitEnv, run } from '../protocols/git/world.ts'

/**
 * `npm run conformance -- git-lfs`: the real git-lfs (Debian's package, on the PATH) through the gateway, with its files over
 * SSH (`git-lfs-transfer`, a server's program from the Go registry) and over HTTPS to another server (`git-lfs-authenticate`).
 */
const bytes = 3_000_000
const token = `token-${randomBytes(9).toString('hex')}`

let failed = 0
function check(what: string, right: boolean, said = ''): void {
  if (!right) failed++
  console.log(`${right ? 'pass' : 'FAIL'}  ${what}${right ? '' : `: ${said.trim().slice(-600)}`}`)
}

function serverProgram(): string {
  const place = join(homedir(), '.cache/sallyport/conformance/git-lfs-transfer')
  const program = join(place, 'bin/git-lfs-transfer')
  if (existsSync(program)) return program
  const env = { ...process.env, GOPATH: place, GOFLAGS: '-modcacherw' }
  const { status, stderr } = spawnSync('go', ['install', 'github.com/charmbracelet/git-lfs-transfer@v0.1.0'], { env })
  if (status !== 0) throw new Error(`go install git-lfs-transfer: ${String(stderr)}`)
  return program
}

/** The server that `git-lfs-authenticate` leads to: github.com/git-lfs/git-lfs, docs/api/batch.md. */
async function startFiles() {
  const files = new Map<string, Buffer>()
  let strangers = 0
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const answer = (status: number, value?: unknown) => {
      response.writeHead(status, { 'content-type': 'application/vnd.git-lfs+json' })
      response.end(value === undefined ? undefined : JSON.stringify(value))
    }
    if (request.headers.authorization !== token) {
      strangers++
      return answer(403, {})
    }
    const { port } = server.address() as AddressInfo
    const at = (oid: string) => ({ href: `http://127.0.0.1:${port}/files/${oid}`, header: { Authorization: token } })
    const oid = request.url?.split('/').at(-1) ?? ''
    if (request.url?.endsWith('/objects/batch')) {
      const asked = JSON.parse(body.toString()) as { operation: string; objects: { oid: string; size: number }[] }
      const objects = asked.objects.map(each => ({ ...each, actions: { [asked.operation]: at(each.oid) } }))
      return answer(200, { transfer: 'basic', objects })
    }
    if (request.method === 'PUT') {
      files.set(oid, body)
      return answer(200)
    }
    if (request.method === 'GET' && files.has(oid)) return response.end(files.get(oid))
    return answer(404, {})
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const href = `http://127.0.0.1:${(server.address() as AddressInfo).port}/lfs`
  return { files, href, strangers: () => strangers, stop: () => server.close() }
}

if (spawnSync('git-lfs', ['version']).status !== 0) {
  console.error('git-lfs is not on the PATH: install the package git-lfs')
  process.exit(2)
}
const program = serverProgram()
const files = await startFiles()
const answer = JSON.stringify({ href: files.href, header: { Authorization: token } })
const world = await createGitWorld(
  folder => [
    {
      name: 'forge',
      options: `repositories:\n  team/app: { path: ${folder}/app.git }\n  team/web: { path: ${folder}/web.git }\n`,
    },
  ],
  folder => `#!/bin/sh
set -f
case "$SSH_ORIGINAL_COMMAND" in
  git-lfs-transfer\\ ${folder}/app.git\\ *) echo "$SSH_ORIGINAL_COMMAND" >>${folder}/asked; set -- $SSH_ORIGINAL_COMMAND; exec ${program} "$2" "$3" ;;
  git-lfs-authenticate\\ ${folder}/web.git\\ *) echo "$SSH_ORIGINAL_COMMAND" >>${folder}/asked; echo '${answer}' ;;
  git-lfs-*) echo >&2 'not here'; exit 1 ;;
  *) exec git-shell -c "$SSH_ORIGINAL_COMMAND" ;;
esac
`,
)
try {
  const here = (cwd: string, ...args: string[]) => run(['git', ...args], cwd, gitEnv(world.folder))
  for (const [name, how] of [
    ['app', 'over SSH (git-lfs-transfer)'],
    ['web', 'over HTTP, as git-lfs-authenticate says'],
  ] as const) {
    await here(world.folder, 'init', '--quiet', '--bare', `${name}.git`)
    const git = await world.git('forge', 'writer')
    const ssh = git.words.map(word => `'${word}'`).join(' ')
    const env = { ...git.env, GIT_SSH_COMMAND: ssh, PATH: `${process.env['PATH']}${delimiter}/usr/sbin` }
    const as = (cwd: string, ...args: string[]) => run(['git', ...args], cwd, env)
    const work = join(world.folder, `work-${name}`)
    mkdirSync(work)
    await as(work, 'init', '--quiet')
    await as(work, 'lfs', 'install', '--local')
    await as(work, 'lfs', 'track', '*.bin')
    await as(work, 'remote', 'add', 'origin', `forge:team/${name}.git`)
    const content = randomBytes(bytes)
    const oid = createHash('sha256').update(content).digest('hex')
    writeFileSync(join(work, 'large.bin'), content)
    await as(work, 'add', '.')
    await as(work, 'commit', '--quiet', '-m', 'large')
    const pushed = await as(work, 'push', 'origin', 'HEAD:refs/heads/topic')
    check(`${name}: a push brings its large files ${how}`, pushed.code === 0, pushed.stderr)
    const stored = join(world.folder, 'app.git/lfs/objects', oid.slice(0, 2), oid.slice(2, 4), oid)
    const kept = name === 'web' ? files.files.get(oid) : existsSync(stored) ? readFileSync(stored) : undefined
    check(`${name}: the server has the file`, kept?.equals(content) === true)
    const other = join(world.folder, `other-${name}`)
    const cloned = await as(
      world.folder,
      '-c',
      'filter.lfs.smudge=',
      '-c',
      'filter.lfs.required=false',
      'clone',
      '--quiet',
      '-b',
      'topic',
      `forge:team/${name}.git`,
      other,
    )
    await as(other, 'lfs', 'install', '--local')
    const pulled = await as(other, 'lfs', 'pull')
    const got = existsSync(join(other, 'large.bin')) ? readFileSync(join(other, 'large.bin')) : Buffer.alloc(0)
    check(`${name}: a clone brings them back`, got.equals(content), cloned.stderr + pulled.stderr)

    const reader = await world.git('forge', 'reader')
    const readerEnv = {
      ...env,
      ...reader.env,
      PATH: env.PATH,
      GIT_SSH_COMMAND: reader.words.map(word => `'${word}'`).join(' '),
    }
    writeFileSync(join(work, 'more.bin'), randomBytes(bytes))
    await as(work, 'add', '.')
    await as(work, 'commit', '--quiet', '-m', 'more')
    const refused = await run(['git', 'lfs', 'push', 'origin', 'HEAD'], work, readerEnv)
    check(
      `${name}: a reader uploads nothing, and reads why`,
      refused.code !== 0 && /reader does not push/.test(refused.stderr),
      refused.stderr,
    )

    const session = await world.sessionOf(git.issued)
    const events = await recorded(session)
    const said = events.filter(each => each['kind'] === 'statement').map(each => String(each['text']))
    const programs = said.filter(text => text.startsWith('git-lfs-'))
    check(
      `${name}: the recording says who asked for which large files' program`,
      programs.some(text => / upload/.test(text)) && programs.some(text => / download/.test(text)),
      said.join('\n'),
    )
    check(`${name}: nothing of what it answered is recorded`, !JSON.stringify(events).includes(token))
  }
  check('the other server was asked with the credential that it gave, and by nobody else', files.strangers() === 0)
  const asked = readFileSync(join(world.folder, 'asked'), 'utf8')
  console.log(`the server was asked:\n${asked.replaceAll(world.folder, '').replaceAll(/^/gm, '      ')}`)
} finally {
  await world.close()
  files.stop()
}
process.exit(failed > 0 ? 1 : 0)

/** What a recording holds, once it is shipped. */
async function recorded(session: string): Promise<Record<string, unknown>[]> {
  let seen: Record<string, unknown>[] = []
  for (let tries = 0; tries < 40; tries++) {
    seen = []
    for await (const event of world.world.reader.events(session)) seen.push({ ...event })
    if (seen.filter(each => each['kind'] === 'statement').length >= 4) return seen
    await new Promise(resolve => setTimeout(resolve, 500))
  }
  return seen
}
