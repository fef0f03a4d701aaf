import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { mirrorLimits } from '../../../src/protocols/git/mirror/limits.ts'
import { GitMirrors } from '../../../src/protocols/git/mirror/mirrors.ts'
import { Store } from '../../../src/protocols/git/mirror/store.ts'
import { git, MirrorWorld, word } from './mirror-kit.ts'

const whose = { resource: 'code', repository: 'app' }

/** Debian's gpg in a home of its own: what git signs with it as that person. */
class OpenPgp {
  readonly #world: MirrorWorld
  readonly home: string

  constructor(world: MirrorWorld) {
    this.#world = world
    this.home = join(world.root, 'gpg')
    mkdirSync(this.home, { mode: 0o700 })
    onTestFinished(() => void spawnSync('gpgconf', ['--kill', 'all'], { env: this.#env }))
  }

  get #env() {
    return { PATH: process.env['PATH'], GNUPGHOME: this.home, LC_ALL: 'C' }
  }

  gpg(...args: string[]): string {
    const { status, stdout, stderr } = spawnSync('gpg', ['--batch', '--pinentry-mode=loopback', ...args], {
      env: this.#env,
    })
    if (status !== 0) throw new Error(`gpg ${args.join(' ')}: ${String(stderr)}`)
    return String(stdout)
  }

  /** A key, and commits signed with it. `faked`: then, as gpg reads a time. */
  person(name: string, expires = '0', faked: string[] = []): { readonly armored: string; use(): void } {
    const email = `${name}@example.com`
    this.gpg(...faked, '--passphrase', '', '--quick-generate-key', `${name} <${email}>`, 'ed25519', 'sign', expires)
    const program = join(this.#world.root, `gpg-${name}`)
    const words = ['--batch', '--pinentry-mode=loopback', ...faked].join(' ')
    writeFileSync(program, `#!/bin/sh\nGNUPGHOME='${this.home}' exec gpg ${words} "$@"\n`, { mode: 0o755 })
    return {
      armored: this.gpg('--armor', '--export', email),
      use: () => {
        git(this.#world.clone, ['config', 'gpg.program', program])
        git(this.#world.clone, ['config', 'user.signingkey', email])
      },
    }
  }
}

test('commits and tags signed with OpenPGP count where the resource lists the key, and for nobody else', async () => {
  using world = new MirrorWorld()
  const pgp = new OpenPgp(world)
  const [ada, stranger] = [pgp.person('ada'), pgp.person('stranger')]
  const old = pgp.person('old', '1d', ['--faked-system-time', '20240101T000000'])
  const sign = (who: typeof ada, name: string) => {
    who.use()
    return world.commit(name, { [name]: name }, ['-S'])
  }
  const first = sign(ada, 'listed')
  sign(stranger, 'stranger')
  sign(old, 'expired')
  // As Ada signed it, but for one word of its message.
  const forged = Buffer.from(git(world.clone, ['cat-file', 'commit', first]).toString().replace('listed', 'LISTED'))
  const id = git(world.clone, ['hash-object', '-w', '-t', 'commit', '--stdin'], { input: forged }).toString().trim()
  const last = world.commit('unsigned', {}, ['--no-gpg-sign'])
  ada.use()
  git(world.clone, ['tag', '-s', '-m', 'one', 'v1', last])
  const tag = word(world.clone, ['rev-parse', 'v1'])
  const updates = [
    world.update('refs/heads/main', last),
    world.update('refs/heads/forged', id),
    world.update('refs/tags/v1', tag),
  ]
  world.options.openpgp = [ada.armored, old.armored]
  const { quarantine, facts } = await world.judged(updates)
  await quarantine.drop()
  const verified = {
    kind: 'openpgp',
    status: 'verified',
    signer: expect.stringMatching(/^ada <ada@example\.com> openpgp [0-9A-F]{40}$/),
  }
  const unknown = { kind: 'openpgp', status: 'unknown', signer: null }
  expect(facts[0]!.commits.map(each => [each.subject, each.signature])).toEqual([
    ['unsigned', null],
    ['expired', unknown],
    ['stranger', unknown],
    ['listed', verified],
  ])
  expect(facts[1]!.commits[0]!.signature).toEqual({ kind: 'openpgp', status: 'bad', signer: null })
  expect(facts[2]!.tag!.signature).toEqual(verified)

  delete world.options.openpgp
  const none = await world.judged(updates)
  await none.quarantine.drop()
  expect(none.facts[0]!.commits.at(-1)!.signature).toEqual(unknown)
  world.options.openpgp = ['no key']
  await expect(world.judged(updates)).rejects.toThrow(/keys that sign are not to be read \(options\.push/)
  expect(world.left()).toEqual([])
})

test('a repository of SHA-256 is judged, mirrored and restored as any other', async () => {
  using world = new MirrorWorld({ format: 'sha256' })
  const first = world.commit('first', { a: 'a\n' })
  const second = world.commit('second', { a: 'precious\n' })
  expect((await world.push([world.update('refs/heads/main', first)]))[0]).toMatchObject({ kind: 'create', new: first })
  const [facts] = await world.push([world.update('refs/heads/main', second)])
  expect(facts).toMatchObject({ kind: 'fast-forward', commits_total: 1, paths_total: 1 })
  expect(facts!.paths[0]).toMatchObject({ path: 'a', added: 1, removed: 1 })
  expect((await world.push([world.update('refs/heads/main', first)]))[0]).toMatchObject({
    kind: 'force',
    lost: [second],
    kept: true,
  })
  const fresh = join(world.root, 'fresh')
  git(world.root, ['clone', '-q', world.server, fresh])
  const [tip] = world.mirrors.lost(whose)
  git(fresh, ['fetch', '-q', world.mirrors.bundle(whose, tip!.id)!, 'refs/heads/main:back'])
  expect(word(fresh, ['show', 'back:a'])).toBe('precious')
})

test.each(['version=2', ''])(
  'a server that has a shallow clone itself takes pushes that are judged against it (%s)',
  async protocol => {
    using world = new MirrorWorld()
    for (const name of ['1', '2', '3', '4']) world.commit(name, { a: name })
    world.direct('main')
    git(world.root, ['clone', '-q', '--bare', '--depth=2', `file://${world.server}`, 'shallow.git'])
    rmSync(world.server, { recursive: true })
    renameSync(join(world.root, 'shallow.git'), world.server)
    git(world.server, ['config', 'uploadpack.allowFilter', 'true'])
    world.protocol = protocol
    const next = world.commit('5', { a: '5' })
    expect((await world.push([world.update('refs/heads/main', next)]))[0]).toMatchObject({
      kind: 'fast-forward',
      commits_total: 1,
    })
    git(world.clone, ['reset', '-q', '--soft', 'HEAD~1'])
    const other = world.commit('other', { a: 'other' })
    expect((await world.push([world.update('refs/heads/main', other)]))[0]).toMatchObject({
      kind: 'force',
      lost: [next],
    })
  },
)

test('a mirror of many pushes keeps few packs', async () => {
  using world = new MirrorWorld({ limits: { packs: 1 } })
  for (let n = 0; n < 4; n++) await world.push([world.update('refs/heads/main', world.commit(`${n}`, { a: `${n}\n` }))])
  const packs = readdirSync(join(world.mirror(), 'objects/pack')).filter(name => name.endsWith('.pack'))
  expect(packs.length).toBeLessThanOrEqual(2)
  expect(world.held()).toEqual({ commit: 4, tree: 4 })
})

test('of mirrors that take too much room together those go that were used least lately, and none that is in use', () => {
  using world = new MirrorWorld()
  const store = new Store(world.folder, { ...mirrorLimits, total_bytes: 2_500, push_ms: 1_000 })
  const now = Date.now()
  const mirrors = [0, 5_000, 10_000, 20_000].map((age, n) => {
    const folder = store.mirror({ resource: 'code', repository: `r${n}` })
    writeFileSync(join(folder, 'pack'), 'x'.repeat(1_000))
    writeFileSync(join(folder, 'used'), '')
    utimesSync(join(folder, 'used'), new Date(now - age), new Date(now - age))
    return folder
  })
  expect(store.evict(now)).toBe(2)
  const left = readdirSync(join(world.folder, 'mirrors'))
  expect(mirrors.map(folder => left.includes(folder.split('/').at(-1)!))).toEqual([true, true, false, false])
})

test('what lies in the folder of mirrors is its user’s alone, and it leads nowhere else', async () => {
  const before = process.umask(0o022)
  onTestFinished(() => void process.umask(before))
  using world = new MirrorWorld({ push: { secrets: true } })
  chmodSync(world.folder, 0o755)
  world.restart()
  const first = world.commit('first', { a: 'a\n' })
  await world.push([world.update('refs/heads/main', world.commit('second', { a: 'b\n' }))])
  await world.push([world.update('refs/heads/main', first)])
  const { quarantine } = await world.judged([world.update('refs/heads/main', world.commit('third', { a: 'c\n' }))])
  const open = readdirSync(world.folder, { withFileTypes: true, recursive: true })
    .map(each => join(each.parentPath ?? each.path, each.name))
    .filter(path => (lstatSync(path).mode & 0o077) !== 0)
  await quarantine.drop()
  expect([world.folder, ...open].filter(path => (lstatSync(path).mode & 0o077) !== 0)).toEqual([])
  rmSync(join(world.folder, 'lost'), { recursive: true })
  symlinkSync(world.root, join(world.folder, 'lost'))
  expect(() => new GitMirrors(world.folder)).toThrow(/no folder of the user/)
})
