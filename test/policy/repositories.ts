import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { newId } from '../../src/ids.ts'
import { Repository, type RepositoryOptions } from '../../src/policy/repository/repository.ts'
import type { TestDatabase } from '../support/database.ts'
import { acceptAll, keys, lean, opaPath } from './support.ts'

const made: string[] = []

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sallyport-policy-test-'))
  made.push(path)
  return path
}

export function removeFolders(): void {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true })
}

const settings = ['user.name=Mallory', 'user.email=m@example.com', 'init.defaultBranch=main', 'commit.gpgsign=false']

export function git(dir: string, ...args: string[]): string {
  return execFileSync('git', ['-C', dir, ...settings.flatMap(setting => ['-c', setting]), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim()
}

export function write(dir: string, files: Iterable<readonly [string, Buffer | string]>): void {
  for (const [path, content] of files) {
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), content)
  }
}

/** `more`: settings that come before `commit`, as `-c x=y`, and options that come after it. */
export function commit(
  dir: string,
  files: Iterable<readonly [string, Buffer | string]>,
  subject = 'change',
  more: { readonly settings?: readonly string[]; readonly options?: readonly string[] } = {},
): string {
  write(dir, files)
  git(dir, 'add', '-A')
  const before = (more.settings ?? []).flatMap(setting => ['-c', setting])
  git(dir, ...before, 'commit', '-q', '--allow-empty', '-m', subject, ...(more.options ?? []))
  return git(dir, 'rev-parse', 'HEAD')
}

/** Empty commits on a branch that is checked out, in one process for all. */
export function manyCommits(dir: string, branch: string, count: number): void {
  const one = (n: number) =>
    `commit refs/heads/${branch}\ncommitter M <m@e.com> ${n} +0000\ndata 2\n${n % 10}\n${n === 0 ? `from refs/heads/${branch}^0\n` : ''}\n`
  execFileSync('git', ['-C', dir, 'fast-import', '--quiet'], {
    input: Array.from({ length: count }, (_, n) => one(n)).join(''),
  })
}

export function starterRepository(changes: Readonly<Record<string, string | null>> = {}): string {
  const dir = folder()
  git(dir, 'init', '-q')
  commit(dir, lean(changes), 'the starter policies')
  return dir
}

export function repository(source: string, on: TestDatabase, change: Partial<RepositoryOptions> = {}): Repository {
  return new Repository({
    database: on.database,
    audit: createAuditWriter({ database: on.database, process_id: newId('prc') }),
    git: { source, ref: 'main', dir: folder() },
    gate: { opa: opaPath(), protocols: acceptAll },
    key: keys.privateKey,
    first_admins: 'security-admins',
    ...change,
  })
}
