import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listRequests } from '../../src/approvals/view.ts'
import { documented } from '../protocols/git/documented.ts'
import { createGitWorld, type GitWorld, gitEnv, run, type Said } from '../protocols/git/world.ts'

/** The real git through the gateway, to Debian's own servers: git-shell and gitolite behind sshd. */
let world: GitWorld
let bare: string
let made = 0

/** What sshd runs: gitolite where the repository is one of its, a stand-in where large files are asked for, else git-shell. */
const serve = (folder: string) => `#!/bin/sh
if [ -e ${folder}/evil ]; then
  printf '\\033[2Jhello\\n' >&2
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=uploadpack.packObjectsHook GIT_CONFIG_VALUE_0=${folder}/evil
fi
case "$SSH_ORIGINAL_COMMAND" in
  info* | *"'gitolite-admin'" | *"'testing'") HOME=${folder}/gitolite exec /usr/share/gitolite3/gitolite-shell ada ;;
  git-lfs-*) echo "asked: $SSH_ORIGINAL_COMMAND" ;;
  *) exec git-shell -c "$SSH_ORIGINAL_COMMAND" ;;
esac
`

beforeAll(async () => {
  world = await createGitWorld(
    folder => [
      {
        name: 'forge',
        options: `repositories:\n  team/app: { path: ${folder}/app.git, also: [old/app] }\n  team/new: { path: ${folder}/sha256.git }\n`,
      },
      {
        name: 'gitolite',
        options:
          'repositories:\n  gitolite-admin: { path: gitolite-admin, administration: true }\n  testing: { path: testing }\ncommands: [info]\npush: { secrets: true }\n',
      },
    ],
    serve,
  )
  bare = join(world.folder, 'app.git')
  await direct(world.folder, 'init', '--quiet', '--bare', bare)
  for (const key of ['receive.advertisePushOptions', 'uploadpack.allowFilter', 'uploadpack.allowAnySHA1InWant'])
    await direct(bare, 'config', key, 'true')
  const seed = join(world.folder, 'seed')
  await direct(world.folder, 'clone', '--quiet', bare, seed)
  await commit(seed, 'README', 'one\n')
  await commit(seed, 'README', 'two\n')
  await direct(seed, 'push', '--quiet', bare, 'HEAD:main')
  await direct(bare, 'symbolic-ref', 'refs/heads/alias', 'refs/heads/main')
  await gitolite()
}, 120_000)
afterAll(() => world?.close())

const env = () => gitEnv(world.folder)
const direct = async (cwd: string, ...args: string[]) => {
  const said = await run(['git', ...args], cwd, env())
  if (said.code !== 0) throw new Error(`git ${args.join(' ')}: ${said.stderr}`)
  return said.stdout.trim()
}
async function commit(folder: string, name: string, text: string): Promise<string> {
  writeFileSync(join(folder, name), text)
  await direct(folder, 'add', '.')
  await direct(folder, 'commit', '--quiet', '-m', `${name}: ${text.trim()}`)
  return direct(folder, 'rev-parse', 'HEAD')
}
async function gitolite(): Promise<void> {
  const home = join(world.folder, 'gitolite')
  mkdirSync(home)
  const key = join(world.folder, 'ada')
  await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], world.folder, env())
  const said = await run(['gitolite', 'setup', '-pk', `${key}.pub`], home, { ...gitEnv(home), USER: 'git' })
  if (said.code !== 0) throw new Error(`gitolite setup: ${said.stderr}`)
}
const refs = () => direct(bare, 'for-each-ref', '--format=%(refname) %(objectname)')
const at = (ref: string) => direct(bare, 'rev-parse', '--verify', '--quiet', ref).catch(() => null)
const place = () => join(mkdtempSync(join(world.folder, `work-${made++}-`)), 'work')
const ok = (said: Said) => expect(said.code, said.stderr).toBe(0)

/** A clone of the repository, and git with a ticket. */
async function cloned(role = 'writer', resource = 'forge', url = 'team/app') {
  const git = await world.git(resource, role)
  const work = place()
  ok(await git(world.folder, 'clone', '--quiet', url, work))
  return { git, work, in: (...args: string[]) => git(work, ...args) }
}
async function eventsOf(issued: { readonly id: string }, kind: string) {
  const seen: Record<string, unknown>[] = []
  for await (const event of world.world.reader.events(await world.sessionOf(issued)))
    if (event.kind === kind) seen.push({ ...event })
  // What a SIEM reads is what its document says.
  const members = documented('Events of a recording').get(kind)
  const envelope = ['t', 'at_us', 'part', 'conn', 'seq', 'kind', 'channel']
  const unknown = seen.flatMap(each => Object.keys(each)).filter(name => !envelope.includes(name))
  if (members !== undefined) expect(members).toEqual(expect.arrayContaining(unknown))
  return seen
}

describe('fetching', () => {
  test.each(['0', '1', '2'])(
    'in protocol version %s a clone is the repository, whole, shallow or partial',
    async version => {
      const git = await world.git('forge', 'reader')
      const as = (...args: string[]) => git(world.folder, '-c', `protocol.version=${version}`, ...args)
      const listed = await as('ls-remote', 'forge:team/app.git')
      expect(listed.stdout).toContain(`${await at('main')}\trefs/heads/main`)
      const [whole, shallow, partial] = [place(), place(), place()]
      ok(await as('clone', '--quiet', 'forge:team/app.git', whole))
      expect(readFileSync(join(whole, 'README'), 'utf8')).toBe('two\n')
      ok(await as('clone', '--quiet', '--depth=1', 'forge:/team/app', shallow))
      expect(await direct(shallow, 'rev-list', '--count', 'HEAD')).toBe('1')
      ok(await as('clone', '--quiet', '--filter=blob:none', 'forge:old/app', partial))
      const again = await git(partial, '-c', `protocol.version=${version}`, 'show', 'HEAD~1:README')
      expect(again.stdout, again.stderr).toBe('one\n')
      ok(await git(whole, '-c', `protocol.version=${version}`, 'fetch', '--quiet'))
      await expect
        .poll(() => eventsOf(git.issued, 'git_fetch'), { timeout: 10_000 })
        .toEqual(
          expect.arrayContaining([
            expect.objectContaining({
              repository: 'team/app',
              refs: expect.arrayContaining(['refs/heads/main']),
              effect: 'allow',
            }),
            expect.objectContaining({ depth: 1 }),
            expect.objectContaining({ filter: 'blob:none', objects_total: 1 }),
          ]),
        )
    },
  )

  test.each(['0', '2'])(
    'CVE-2024-52005: a server writes words to a terminal, and no more, in version %s',
    async version => {
      const git = await world.git('forge', 'reader')
      const evil = join(world.folder, 'evil')
      const torn = `printf '\\033]0;owned\\007\\033[31mred\\033[m\\302' >&2; sleep 0.2; printf '\\2332J\\n' >&2`
      writeFileSync(evil, `#!/bin/sh\n${torn}\nexec "$@"\n`, { mode: 0o755 })
      const work = place()
      const said = await git(world.folder, '-c', `protocol.version=${version}`, 'clone', 'forge:team/app', work)
      rmSync(evil)
      ok(said)
      expect(said.stderr).toContain('remote: ^[]0;owned^G\x1b[31mred\x1b[m?2J')
      expect(said.stderr).toContain('^[[2Jhello\n')
      expect(said.stderr.replaceAll(/\x1b\[(?:31)?m|\x1b\[K/g, '')).not.toMatch(/[^\P{Cc}\n\r]/u)
      expect(readFileSync(join(work, 'README'), 'utf8')).toBe('two\n')
      await expect
        .poll(async () => (await eventsOf(git.issued, 'output')).map(each => String(each['data'])).join(''), {
          timeout: 10_000,
        })
        .toContain('owned')
    },
  )

  test('GI4: an archive passes the same gate', async () => {
    const git = await world.git('forge', 'reader')
    const tar = await git(world.folder, 'archive', '--remote=forge:team/app.git', 'main', 'README')
    expect(tar.stdout, tar.stderr).toContain('two\n')
    const none = await git(world.folder, 'archive', '--remote=forge:team/app.git', '--format=tar', '--remote=x', 'main')
    expect(none.code).not.toBe(0)
  })

  test('what is no command of git, no repository, or a shell is refused in words', async () => {
    const git = await world.git('forge', 'reader')
    for (const [line, words] of [
      ['id', 'none of the commands'],
      ["git-upload-pack '/etc'; id", 'none of the commands'],
      ["git-upload-pack 'team/lib.git'", 'those are: team/app'],
      ["git-receive-pack '//team/app.git'", 'no repository'],
      ["git-receive-pack 'team/app.git'", 'a reader does not push'],
      ['git-lfs-authenticate team/app.git upload', 'a reader does not push'],
    ] as const)
      expect(await git.ssh('forge', line), line).toMatchObject({ code: 126, stderr: expect.stringContaining(words) })
    expect(await git.ssh('forge')).toMatchObject({ code: 126, stderr: expect.stringContaining('gives no shell') })
    expect(await git.ssh('forge', 'git-lfs-authenticate team/app.git download')).toMatchObject({
      code: 0,
      stdout: `asked: git-lfs-authenticate ${bare} download\n`,
    })
    expect((await git.ssh('-W', '127.0.0.1:22', 'forge')).stderr).toContain('only commands')
  })
})

describe('pushing', () => {
  test('own branches are made, rewritten and deleted; the recording tells each step', async () => {
    const { git, work, in: here } = await cloned()
    const first = await commit(work, 'topic', 'first\n')
    ok(await here('push', '-o', 'ci.skip', 'origin', 'HEAD:refs/heads/topic'))
    expect(await at('topic')).toBe(first)
    await direct(work, 'reset', '--quiet', '--hard', 'HEAD~1')
    const second = await commit(work, 'topic', 'second\n')
    ok(await here('push', '--force', 'origin', 'HEAD:topic'))
    expect(await at('topic')).toBe(second)
    ok(await here('push', 'origin', ':topic'))
    expect(await at('topic')).toBeNull()
    const told = async () =>
      (await eventsOf(git.issued, 'git_push')).map(({ kind: _, ref, lost, ...rest }) => [ref, rest['new'], lost])
    await expect.poll(told, { timeout: 10_000 }).toEqual([
      ['refs/heads/topic', first, []],
      ['refs/heads/topic', second, [first]],
      ['refs/heads/topic', null, [second]],
    ])
    expect((await eventsOf(git.issued, 'git_ref')).map(each => each['done'])).toEqual([true, true, true])
    const changes = (await eventsOf(git.issued, 'git_push')).map(each => each['change'])
    expect(changes).toEqual(['create', 'force', 'delete'])
    const lost = (await eventsOf(git.issued, 'git_lost')).map(each => [each['lost'], each['kept'], each['done']])
    expect(lost).toEqual([
      [[first], true, true],
      [[second], true, true],
    ])
  })

  test('what is protected is refused per ref, in words with rule and place; what is not goes on', async () => {
    const { work, in: here } = await cloned()
    const before = await at('main')
    const own = await commit(work, 'unsigned', 'x\n')
    const said = await here('push', 'origin', 'HEAD:main', 'HEAD:refs/heads/fine')
    expect(said.code).toBe(1)
    expect(said.stderr).toMatch(
      /! \[remote rejected\]\s+HEAD -> main \(refused by policy: 1 commits .* bear no signature/,
    )
    expect(said.stderr).toMatch(/remote: sallyport: rule action\.git-unsigned \(\S*action\/git\.rego:\d+@[0-9a-f]+/)
    expect(said.stderr).toContain('remote: sallyport: →')
    expect([await at('main'), await at('fine')]).toEqual([before, own])
    const atomic = await here('push', '--atomic', 'origin', 'HEAD:main', 'HEAD:refs/heads/never')
    expect(atomic.code).toBe(1)
    expect([await at('main'), await at('never')]).toEqual([before, null])
  })

  test('GI5, GI6: main is neither rewritten nor deleted, under whatever name', async () => {
    const { work, in: here } = await cloned()
    const before = await refs()
    await direct(work, 'reset', '--quiet', '--hard', 'HEAD~1')
    for (const args of [
      ['--force', 'origin', 'HEAD:main'],
      ['--force', 'origin', 'HEAD:alias'],
      ['origin', ':main'],
      ['origin', ':alias'],
    ]) {
      const said = await here('push', ...args)
      expect(said.code, args.join(' ')).toBe(1)
      expect(said.stderr).toContain('rule action.git-force')
    }
    expect(await refs()).toBe(before)
  })

  test('GI7, GI8: other namespaces and push options that are more than text are refused', async () => {
    const { in: here } = await cloned()
    const before = await refs()
    for (const ref of ['refs/notes/x', 'refs/replace/x', 'refs/heads/HEAD', 'refs/heads/-x']) {
      const said = await here('push', 'origin', `HEAD:${ref}`)
      expect(said.code, ref).toBe(1)
      expect(said.stderr).toContain('refused by the gateway')
    }
    const said = await here('push', '-o', 'a;b', 'origin', 'HEAD:refs/heads/opt')
    expect(said.stderr).toContain('semicolon')
    expect(await refs()).toBe(before)
  })

  test('GI7: of what is refused before it is judged no object reaches the server with the rest', async () => {
    const { work, in: here } = await cloned()
    const note = await commit(work, 'note', 'never\n')
    ok(await here('reset', '-q', '--hard', 'origin/main'))
    const fine = await commit(work, 'fine', 'fine\n')
    const said = await here('push', 'origin', `${note}:refs/notes/x`, `${fine}:refs/heads/fine-${made}`)
    expect(said.stderr).toContain('refused by the gateway')
    expect(await direct(bare, 'cat-file', '-t', fine)).toBe('commit')
    await expect(direct(bare, 'cat-file', '-t', note)).rejects.toThrow()
  })

  test('who gives up while a pack is on its way leaves nothing', async () => {
    const { git, work } = await cloned()
    const before = await refs()
    const zero = '0'.repeat(40)
    const line = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`
    const head = await direct(work, 'rev-parse', 'HEAD')
    const input = `${line(`${zero} ${head} refs/heads/cut\0 report-status side-band-64k`)}0000PACK\0\0\0\x02\0\0\0\x05garbage`
    const said = await run([...git.words, 'forge', "git-receive-pack 'team/app.git'"], work, git.env, input)
    expect(said.stdout + said.stderr).toContain('sallyport:')
    expect(await refs()).toBe(before)
  })

  test('what the server did is recorded, whether its client wants to hear it or not', async () => {
    const { git, work } = await cloned()
    const id = await commit(work, 'silent', 'silent\n')
    const line = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`
    const pack = spawnSync('git', ['pack-objects', '--revs', '--stdout', '-q'], {
      cwd: work,
      input: `${id}\n^${id}~1\n`,
    })
    const wire = join(work, 'wire')
    const commands = `${line(`${'0'.repeat(40)} ${id} refs/heads/silent\0 side-band-64k`)}0000`
    writeFileSync(wire, Buffer.concat([Buffer.from(commands), pack.stdout]))
    const ssh = [
      'sh',
      '-c',
      `(sleep 2; cat ${wire}) | "$@"`,
      'sh',
      ...git.words,
      'forge',
      "git-receive-pack 'team/app.git'",
    ]
    const said = await run(ssh, work, git.env)
    expect(said.stdout).not.toContain('unpack ok')
    expect(await at('silent')).toBe(id)
    const told = async () => (await eventsOf(git.issued, 'git_ref')).map(each => [each['ref'], each['done']])
    await expect.poll(told, { timeout: 10_000 }).toEqual([['refs/heads/silent', true]])
  })

  test('what a force-push lost is listed for an admin, comes as a bundle, and is there again', async () => {
    const git = await world.git()
    const work = place()
    ok(await git(world.folder, 'clone', '--quiet', 'team/app', work))
    const lost = await commit(work, 'precious', 'precious\n')
    ok(await git(work, 'push', '--quiet', 'origin', 'HEAD:refs/heads/rewritten'))
    await direct(work, 'reset', '--quiet', '--hard', 'HEAD~1')
    await commit(work, 'other', 'other\n')
    const forced = await git(work, 'push', '--quiet', '--force', 'origin', 'HEAD:refs/heads/rewritten')
    ok(forced)
    expect(forced.stderr).toMatch(/remote: sallyport: → sallyport git restore forge team\/app [0-9a-f]{16}/)

    const refused = await git.ssh('forge', "sallyport-lost 'team/app'")
    expect(refused).toMatchObject({ code: 126, stderr: expect.stringContaining('action.git-restore-others') })
    const admin = await world.git('forge', 'admin')
    // It is noted when the client has its answer already.
    const find = async () => {
      const { stdout } = await admin.ssh('forge', "sallyport-lost 'team/app'")
      const tips = stdout.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line)]))
      return tips.find(each => each.ref === 'refs/heads/rewritten')
    }
    await expect.poll(find, { timeout: 10_000 }).toMatchObject({ old: lost, how: 'force', commits: 1, without: null })
    const tip = await find()
    const bundle = join(world.folder, 'lost.bundle')
    const fetched = `$GIT_SSH_COMMAND forge "sallyport-lost 'team/app' ${tip.id}" > '${bundle}'`
    ok(await run(['sh', '-c', fetched], world.folder, admin.env))
    const fresh = place()
    ok(await git(world.folder, 'clone', '--quiet', 'team/app', fresh))
    await direct(fresh, 'fetch', '--quiet', bundle, 'refs/heads/rewritten:refs/heads/back')
    expect(await direct(fresh, 'show', 'back:precious')).toBe('precious')
  })
})

test('a repository of SHA-256 takes 500 refs in one push, all but the one that policy refuses', async () => {
  const [there, work, again] = [join(world.folder, 'sha256.git'), place(), place()]
  for (const args of [['--bare', there], [work]])
    await direct(world.folder, 'init', '--quiet', '--object-format=sha256', ...args)
  const git = await world.git('forge', 'writer')
  const first = await commit(work, 'README', 'one\n')
  const own = 'commit refs/heads/many/own\ncommitter Ada <ada@example.test> 1 +0000\ndata 3\nown\n'
  await run(['git', 'fast-import', '--quiet'], work, env(), `${own}from ${first}\n`)
  const many = Array.from({ length: 499 }, (_, i) => `create refs/heads/many/${i} ${first}\n`)
  await run(['git', 'update-ref', '--stdin'], work, env(), many.join(''))
  const pushed = await git(work, 'push', 'forge:team/new', 'refs/heads/many/*:refs/heads/many/*', 'HEAD:refs/tags/v1')
  expect(pushed.code, pushed.stderr).toBe(1)
  expect(pushed.stderr).toMatch(/\[remote rejected\] HEAD -> v1 \(refused by policy: 1 commits for refs\/tags\/v1/)
  expect((await direct(there, 'for-each-ref', '--format=%(refname)')).split('\n')).toHaveLength(500)
  const names = ['rev-parse', 'refs/heads/many/own', 'refs/heads/many/498']
  expect(await direct(there, ...names)).toBe(await direct(work, ...names))
  ok(await git(world.folder, 'clone', '--quiet', '--branch', 'many/own', 'forge:team/new', again))
  expect(await direct(again, 'rev-parse', 'HEAD~1')).toBe(first)
}, 60_000)

describe('GI10: what judges a push fails while it lies in quarantine', () => {
  const left = () => readdirSync(join(world.world.folder, 'handlers/git/quarantine'))

  test('policy traps: the push is refused in words, nothing moved, nothing is left, and the next one works', async () => {
    const { work, in: here } = await cloned()
    const before = await refs()
    await commit(work, 'trapped', 'trapped\n')
    const limit = 'too_large if input.action.facts.pack_bytes > largest_pack'
    const endless = 'xs := numbers.range(1, 3000000); some a in xs; some b in xs; a < b; b < a'
    await world.activate(['action/git.rego', limit, `too_large if { input.action.kind == "push"; ${endless} }`])
    const said = await here('push', 'origin', 'HEAD:refs/heads/trapped')
    expect(said.code).toBe(1)
    expect(said.stderr).toMatch(/remote: sallyport: refs\/heads\/trapped: .*policy/)
    expect(said.stderr).toContain('remote: sallyport: →')
    expect(await refs()).toBe(before)
    await expect.poll(left).toEqual([])
    await world.activate()
    ok(await here('push', 'origin', 'HEAD:refs/heads/trapped'))
  })

  test('the database is away: the push that waits ends with the reason, nothing moved, nothing is left, and the next one works', async () => {
    const gateway = await world.world.gateway({ offline_grace_s: 2 })
    await world.activate() // for this one too
    const git = await world.git('gitolite', 'admin', world.person, gateway.portOf('ssh'))
    const work = place()
    ok(await git(world.folder, 'clone', '--quiet', 'gitolite-admin', work))
    await commit(work, 'conf/x.conf', 'x\n')
    const pushing = git(work, 'push', 'origin', 'HEAD:refs/heads/offline')
    const pending = async () =>
      (await listRequests(world.world.db, { state: 'pending', limit: 1 })).some(each => each.kind === 'hold')
    await expect.poll(pending, { timeout: 15_000 }).toBe(true)
    expect(left()).toHaveLength(1)
    await world.world.test.away(async () => {
      const said = await pushing
      expect(said.code).not.toBe(0)
      expect(said.stderr).toContain('has not reached its database for 2 s')
      await expect.poll(left).toEqual([])
    })
    const proposed = join(world.folder, 'gitolite/repositories/gitolite-admin.git')
    await expect(direct(proposed, 'rev-parse', '--verify', 'offline')).rejects.toThrow()
    const again = async () => {
      const { in: here } = await cloned()
      return (await here('push', 'origin', `HEAD:refs/heads/back-${made}`)).code
    }
    await expect.poll(again, { timeout: 20_000 }).toBe(0)
    const waited = async () =>
      (await listRequests(world.world.db, { limit: 20 })).find(each => each.reason.includes('offline'))?.state
    await expect.poll(waited, { timeout: 10_000 }).toBe('cancelled')
  })
})

describe('gitolite', () => {
  test('its repositories are pushed to, and its commands run where the resource lists them', async () => {
    const git = await world.git('gitolite', 'writer')
    const work = place()
    ok(await git(world.folder, 'clone', '--quiet', 'testing', work))
    await commit(work, 'x', 'x\n')
    ok(await git(work, 'push', 'origin', 'HEAD:refs/heads/x'))
    const admin = await world.git('gitolite', 'admin')
    expect((await admin.ssh('gitolite', 'info')).stdout).toContain('testing')
    const commands = async () =>
      (await eventsOf(admin.issued, 'statement')).map(each => [each['actions'], each['text']])
    await expect.poll(commands, { timeout: 10_000 }).toContainEqual(['exec', 'info'])
    expect(await admin.ssh('gitolite', 'perms x')).toMatchObject({ code: 126 })
    expect(await git.ssh('gitolite', 'info')).toMatchObject({ code: 126, stderr: expect.stringContaining('.rego:') })
  })

  test('a push to its administration repository waits for somebody else, who sees which file changes', async () => {
    const { git, work } = await cloned('admin', 'gitolite', 'gitolite-admin')
    const conf = join(work, 'conf/gitolite.conf')
    writeFileSync(conf, `${readFileSync(conf, 'utf8')}\nrepo secret\n    RW+ = ada\n`)
    await direct(work, 'commit', '--quiet', '-am', 'one more repository')
    const pushing = git(work, 'push', 'origin', 'HEAD:refs/heads/proposed')
    const request = await approved('sec', 'conf/gitolite.conf', 'the configuration of its server')
    const said = await pushing
    expect(said.stderr).toMatch(new RegExp(`remote: sallyport: .*/requests/${request}`))
    ok(said)
    await expect
      .poll(async () => (await eventsOf(git.issued, 'git_push')).at(-1), { timeout: 10_000 })
      .toMatchObject({ administration: true, paths: [{ path: 'conf/gitolite.conf', change: 'modified' }] })
    const proposed = join(world.folder, 'gitolite/repositories/gitolite-admin.git')
    expect(await direct(proposed, 'rev-parse', 'proposed')).toBe(await direct(work, 'rev-parse', 'HEAD'))
  })

  test('what is too large to be looked through for secrets waits for a security admin, on a topic branch too', async () => {
    const { work, in: here } = await cloned('writer', 'gitolite', 'testing')
    writeFileSync(join(work, 'large'), 'x\n'.repeat(2_500_000))
    const own = await commit(work, 'small', 'x')
    const pushing = here('push', 'origin', 'HEAD:refs/heads/topic')
    await approved('second', 'not all of it was looked through for secrets')
    ok(await pushing)
    const testing = join(world.folder, 'gitolite/repositories/testing.git')
    expect(await direct(testing, 'rev-parse', 'topic')).toBe(own)
  })
})

/** A security admin approves the push that waits, having read these words. @returns the request. */
async function approved(name: string, ...words: string[]): Promise<string> {
  const pending = async () =>
    (await listRequests(world.world.db, { state: 'pending', limit: 1 })).find(each => each.kind === 'hold')
  await expect.poll(pending, { timeout: 15_000 }).toBeDefined()
  const request = (await pending())!
  for (const each of words) expect(JSON.stringify(request)).toContain(each)
  const approver = await world.world.person(name, ['security-admins'])
  const vote = { request_id: request.id, answer: 'approve' as const, via: 'web', expected_hash: request.hash }
  expect((await world.world.approvals.vote({ ...vote, approver })).refused).toBe(false)
  return request.id
}
