import { describe, expect, test } from 'vitest'
import type { Opened, Resource } from '../../../src/gateway/protocol.ts'
import { parseCommand } from '../../../src/protocols/git/command.ts'
import { GitHandler } from '../../../src/protocols/git/handler.ts'
import { repositoryOf } from '../../../src/protocols/git/repositories.ts'

const resource: Resource = {
  name: 'forge',
  protocol: 'git',
  host: 'forge.test',
  port: 22,
  labels: {},
  secret: null,
  options: {
    repositories: {
      'team/app': { path: '/srv/git/app.git', also: ['old/app'] },
      'gitolite-admin': { path: 'gitolite-admin', administration: true },
    },
    commands: ['info', 'perms'],
  },
}
const handler = new GitHandler(undefined as never)
const take = (line: string) => handler.take({ line, env: new Map() }, { resource } as Opened)

describe('GI1: a command is one of git’s own, to the last byte, or refused', () => {
  test.each([
    "git-upload-pack 'team/app.git'",
    "git upload-pack '/team/app'",
    "git-receive-pack 'team/app.git'",
    "git receive-pack 'team/app.git'",
    "git-upload-archive 'team/app.git'",
    'git-lfs-authenticate team/app.git download',
    "git-lfs-transfer 'team/app.git' upload",
    'info -lc',
    'perms team/app + WRITERS bob',
  ])('%s is known', line => {
    expect(take(line).refused).toBe(false)
  })

  test.each([
    "git-upload-pack '--help'",
    'git-upload-pack --help',
    "git-upload-pack -c 'team/app.git'",
    "git-upload-pack 'team/app.git'; id",
    "git-upload-pack '$(id)'",
    "git-upload-pack 'team/app.git'\n",
    "git-upload-pack\n'team/app.git'",
    'git-upload-pack "team/app.git"',
    'git-upload-pack team/app.git',
    "git-upload-pack 'team/app.git' x",
    "git-upload-pack  'team/app.git'",
    " git-upload-pack 'team/app.git'",
    "git-upload-pack ''team/app.git''",
    "git-upload-pack 'team/'\\''app.git'",
    "git upload-pack --strict 'team/app.git'",
    "GIT-upload-pack 'team/app.git'",
    'git-lfs-authenticate team/app.git delete',
    'git-lfs-transfer team/app.git upload; id',
    'info; id',
    'info $(id)',
    'info\tx',
    'config --get x',
    'git config --list',
    'scp -t /',
    '',
    `git-upload-pack '${'a'.repeat(600)}'`,
  ])('%j is refused', line => {
    expect(take(line)).toMatchObject({ refused: true })
  })

  test('the target gets a line that is written anew', () => {
    expect(take("git upload-pack '/old/app'")).toMatchObject({ line: "git-upload-pack '/srv/git/app.git'" })
    expect(take('git-lfs-transfer old/app upload')).toMatchObject({ line: 'git-lfs-transfer /srv/git/app.git upload' })
  })

  test('nobody gets a shell, and is told what to do', () => {
    expect(take('')).toMatchObject({
      message: expect.stringContaining('no shell'),
      remedy: expect.stringContaining('git clone forge:'),
    })
  })

  test('only the wish for a protocol version goes on', () => {
    expect(handler.admits('GIT_PROTOCOL', 'version=2')).toBe(true)
    for (const [name, value] of [
      ['GIT_PROTOCOL', 'version=3'],
      ['GIT_PROTOCOL', 'version=2:x=y'],
      ['GIT_PROTOCOL', 'version=2\n'],
      ['GIT_TRACE', '1'],
      ['LANG', 'C'],
    ] as const)
      expect(handler.admits(name, value)).toBe(false)
  })
})

describe('GI2: a repository has one name, found by an exact look-up', () => {
  test.each(['team/app', 'team/app.git', '/team/app.git', 'old/app.git', '/old/app'])('%s is team/app', asked => {
    expect(repositoryOf(resource, asked)?.name).toBe('team/app')
  })

  test.each([
    'team/app.git/../lib.git',
    '//team/app',
    'team//app',
    'team/app/.',
    './team/app',
    'team/app.git/',
    'team/app.git.git',
    '~root/team/app',
    'TEAM/app',
    'app',
    'team',
    '',
    '/',
    'constructor',
    '__proto__',
    '/srv/git/app.git',
    'team/app\u200b',
  ])('%j is none', asked => {
    expect(repositoryOf(resource, asked)).toBeUndefined()
  })

  test('what is none never becomes a command', () => {
    expect(parseCommand("git-upload-pack 'a\nb'")).toBeUndefined()
    expect(take("git-upload-pack '//team/app'")).toMatchObject({
      refused: true,
      rule: 'git.repository',
      remedy: expect.stringContaining('team/app'),
    })
  })
})
