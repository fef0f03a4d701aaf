import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GitMirror, type GitOptions } from '../../src/policy/repository/git.ts'
import { Secret } from '../../src/secret.ts'
import { sshKeygen } from '../protocols/ssh/sshd.ts'
import { gitSshServer } from '../support/git-ssh.ts'
import { commit, folder, git, removeFolders, starterRepository } from './repositories.ts'

let server: Awaited<ReturnType<typeof gitSshServer>>
let work: string
beforeAll(async () => {
  server = await gitSshServer(folder())
  work = starterRepository()
})
afterAll(async () => {
  await server.stop()
  removeFolders()
})

const mirror = (change: Partial<GitOptions> & { dir?: string } = {}) =>
  new GitMirror({
    source: server.source(work),
    ref: 'main',
    dir: folder(),
    ssh: { key: new Secret(server.key), host_keys: server.host_keys },
    ...change,
  })

function otherKey(): { file: string; key: string; pub: string } {
  const file = join(folder(), 'other')
  sshKeygen('-t', 'ed25519', '-f', file)
  return { file, key: readFileSync(file, 'utf8'), pub: readFileSync(`${file}.pub`, 'utf8').trim() }
}

describe('a policy repository over ssh', () => {
  test('is read with its deploy key, of which nothing stays behind; history deepens as it is asked for', async () => {
    const dir = folder()
    const one = mirror({ dir })
    const first = git(work, 'rev-parse', 'HEAD')
    expect((await one.fetch()).commit).toBe(first)
    for (let n = 0; n < 20; n++) commit(work, [], `change ${n}`)
    const last = git(work, 'rev-parse', 'HEAD')
    expect((await one.fetch()).commit).toBe(last)
    expect(await one.descends(last, first)).toBe(true)
    expect(await one.descends(last, 'f'.repeat(40))).toBe(false)
    expect((await one.read(last)).size).toBeGreaterThan(5)
    expect(readdirSync(dir).sort()).toEqual(['gitconfig', 'mirror.git'])
    const secret = server.key.split('\n')[2]!
    for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) expect(readFileSync(join(entry.parentPath, entry.name), 'latin1')).not.toContain(secret)
  })

  test('whose server shows another host key than the pinned one is refused before anything is asked', async () => {
    const pinned = otherKey().pub
    const before = server.log()
    await expect(mirror({ ssh: { key: new Secret(server.key), host_keys: [pinned] } }).fetch()).rejects.toMatchObject({
      code: 'policy_unavailable',
      message: expect.stringContaining('none of policy.ssh.host_keys'),
      remedy: expect.stringContaining('policy.ssh'),
    })
    expect(server.log().slice(before.length)).not.toContain('Accepted publickey')
    const both = { key: new Secret(server.key), host_keys: [pinned, ...server.host_keys] }
    expect((await mirror({ ssh: both }).fetch()).commit).toBe(git(work, 'rev-parse', 'HEAD'))
  })

  test('is not read with another key, nor with an agent or the configuration of the user', async () => {
    const other = otherKey()
    const socket = join(folder(), 'agent')
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
    const was = process.env['SSH_AUTH_SOCK']
    try {
      while (!existsSync(socket)) await new Promise(done => setTimeout(done, 10))
      execFileSync('ssh-add', ['-q', server.keyFile], { env: { ...process.env, SSH_AUTH_SOCK: socket } })
      process.env['SSH_AUTH_SOCK'] = socket
      await expect(
        mirror({ ssh: { key: new Secret(other.key), host_keys: server.host_keys } }).fetch(),
      ).rejects.toMatchObject({ code: 'policy_unavailable', message: expect.stringContaining('Permission denied') })
    } finally {
      if (was === undefined) delete process.env['SSH_AUTH_SOCK']
      else process.env['SSH_AUTH_SOCK'] = was
      agent.kill()
      if (agent.exitCode === null && agent.signalCode === null) await once(agent, 'close')
    }
  })

  test('that a killed process left a key of is cleaned by the next one', async () => {
    const dir = folder()
    const one = mirror({ dir })
    execFileSync('mkdir', ['-p', join(dir, 'ssh-left')])
    writeFileSync(join(dir, 'ssh-left/key'), 'secret')
    await one.fetch()
    expect(existsSync(join(dir, 'ssh-left'))).toBe(false)
  })

  test.each([
    ['no settings', undefined],
    ['no pinned host key', []],
    ['a host key that is none', ['example.com ssh-ed25519 AAAA']],
  ])('is refused at the start with %s', (_, host_keys) => {
    const ssh = host_keys && { key: new Secret('x'), host_keys }
    expect(() => mirror({ ssh })).toThrow(/policy\.ssh/)
  })

  test('is named as user@host:path too', () => {
    expect(() => mirror({ source: 'git@git.example.com:team/policies.git' })).not.toThrow()
  })
})
