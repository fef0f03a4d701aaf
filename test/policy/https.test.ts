import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { newId } from '../../src/ids.ts'
import { GitMirror } from '../../src/policy/repository/git.ts'
import { Repository } from '../../src/policy/repository/repository.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { type GitServer, gitServer } from '../support/git-https.ts'
import { acceptAll, keys, opaPath, starter } from './support.ts'

const secret = 'ghp_averyveryverysecrettoken'
let folder: string
let work: string
let server: GitServer
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-https-'))
  work = join(folder, 'work')
  mkdirSync(work)
  git('init', '-q', '-b', 'main')
  for (const [path, content] of starter()) {
    mkdirSync(dirname(join(work, path)), { recursive: true })
    writeFileSync(join(work, path), content)
  }
  commit('the starter policies')
  server = await gitServer(folder)
  server.token = secret
})
afterEach(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

function git(...args: string[]): string {
  const who = ['-c', 'user.name=Ada', '-c', 'user.email=a@example.com', '-c', 'commit.gpgsign=false']
  return execFileSync('git', ['-C', work, ...who, ...args], { encoding: 'utf8' }).trim()
}
function commit(subject: string): string {
  git('add', '-A')
  git('commit', '-q', '--allow-empty', '-m', subject)
  return git('rev-parse', 'HEAD')
}
const options = (change: { token?: string; ca?: string | undefined } = {}) => ({
  source: `${server.origin}/work/.git`,
  ref: 'main',
  dir: join(folder, 'mirror'),
  token: new Secret(change.token ?? secret),
  ca: 'ca' in change ? change.ca : server.ca,
})

/** The arguments of every process that this user can see. */
function argumentsOfAll(): string {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      } catch {
        return ''
      }
    })
    .join('\n')
}
function filesBelow(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
}

describe('a policy repository over https', () => {
  test('is read with its token, which is in no argument and in no file', async () => {
    let seen = ''
    server.onCall = () => {
      seen += argumentsOfAll()
    }
    const mirror = new GitMirror(options())
    const { commit: first, subject_line } = await mirror.fetch()
    expect([first, subject_line]).toEqual([git('rev-parse', 'HEAD'), 'the starter policies'])
    expect((await mirror.read(first)).size).toBeGreaterThan(5)
    const second = commit('another')
    expect(await mirror.remoteHead()).toBe(second)
    expect((await mirror.fetch()).commit).toBe(second)
    const hidden = [secret, Buffer.from(`x-access-token:${secret}`).toString('base64')]
    expect(seen).toContain('ls-remote')
    for (const text of hidden) {
      expect(seen).not.toContain(text)
      for (const file of filesBelow(join(folder, 'mirror'))) expect(readFileSync(file, 'latin1')).not.toContain(text)
    }
  })

  test('a wrong token is one clear error that does not show it', async () => {
    const refused = await new GitMirror(options({ token: 'ghp_wrong' })).fetch().catch((error: Error) => error)
    expect(refused).toMatchObject({
      code: 'policy_unavailable',
      remedy: expect.stringContaining('policy.token') as string,
    })
    expect((refused as Error).message).toMatch(/Authentication failed|could not read Username|401/)
    expect(`${(refused as Error).message}${(refused as Error).stack}`).not.toContain('ghp_wrong')
  })

  test('a redirect to another host is not followed, and does not get the token', async () => {
    const other = await gitServer(folder)
    try {
      server.redirect = other.origin
      await expect(new GitMirror(options()).fetch()).rejects.toMatchObject({ code: 'policy_unavailable' })
      expect(server.authorizations.length).toBeGreaterThan(0)
      expect(other.authorizations).toEqual([])
    } finally {
      await other.stop()
    }
  })

  test('a certificate that nobody vouches for is refused before the token is sent; policy.ca names who vouches', async () => {
    await expect(new GitMirror(options({ ca: undefined })).fetch()).rejects.toThrow(/certificate/i)
    expect(server.authorizations).toEqual([])
  })
})

describe('the last good revision', () => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await createTestDatabase()
  })
  afterAll(() => db.drop())

  test('stays when the token is no longer good, and follows again when it is', async () => {
    const repository = new Repository({
      database: db.database,
      audit: createAuditWriter({ database: db.database, process_id: newId('prc') }),
      git: options(),
      gate: { opa: opaPath(), protocols: acceptAll },
      key: keys.privateKey,
      first_admins: 'security-admins',
    })
    await repository.poll()
    const active = async () =>
      (await db.database.sql<{ commit: string }[]>`select commit from revisions order by generation desc limit 1`)[0]
        ?.commit
    const good = git('rev-parse', 'HEAD')
    expect(await active()).toBe(good)
    writeFileSync(join(work, 'README.md'), 'changed\n')
    const next = commit('something new')
    server.token = 'rotated'
    await expect(repository.poll()).rejects.toThrow('cannot be read')
    expect(await active()).toBe(good)
    server.token = secret
    await repository.poll()
    expect(await active()).toBe(next)
  })
})
