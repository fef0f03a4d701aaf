import { randomBytes } from 'node:crypto'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { parse, stringify } from 'yaml'
import { CheckpointCopy } from '../../src/audit/copy.ts'
import { vkey } from '../../src/audit/note.ts'
import { originOf, Sequencer } from '../../src/audit/sequencer.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { resumeAudit } from '../../src/cli/audit.ts'
import { backup, restore } from '../../src/cli/backup.ts'
import { openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import { createRootKey, loadRootKey } from '../../src/keys.ts'
import { logger } from '../../src/log.ts'
import { Secret } from '../../src/secret.ts'
import { signingKeys } from '../../src/signing-keys.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** RE4: a backup, more events, a restore: exposed while nobody declares it, and visible for ever when somebody does. */
const folder = mkdtempSync(join(tmpdir(), 'sallyport-backup-'))
const said: string[] = []
let before: TestDatabase
let after: { url: string; drop(): Promise<void> }
let sequencer: Sequencer
const keyFile = join(folder, 'control.key')
const copy = new CheckpointCopy(join(folder, 'elsewhere'))
const origin = originOf('example')

beforeAll(async () => {
  vi.spyOn(process.stdout, 'write').mockImplementation(text => said.push(String(text)) > 0)
  createRootKey(keyFile)
  before = await createTestDatabase()
  after = await emptyDatabase(before.url.reveal())
  sequencer = sequencerOf(before.url)
})
afterAll(async () => {
  vi.restoreAllMocks()
  await sequencer?.release()
  await before?.drop()
  await after?.drop()
  rmSync(folder, { recursive: true, force: true })
})

const keys = () => signingKeys(loadRootKey(keyFile), 'checkpoints')

function sequencerOf(url: Secret): Sequencer {
  const database = openDatabase({ url, max: 3, application: 'test' })
  return new Sequencer({ database, url, key: keys().privateKey, origin, copy, logger: logger('test') })
}

async function emptyDatabase(like: string): Promise<{ url: string; drop(): Promise<void> }> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const admin = (run: (sql: postgres.Sql) => Promise<unknown>) => {
    const sql = postgres(Object.assign(new URL(like), { pathname: '/postgres' }).href, { max: 1, onnotice: () => {} })
    return run(sql).finally(() => sql.end({ timeout: 5 }))
  }
  await admin(sql => sql`create database ${sql(name)}`)
  const url = Object.assign(new URL(like), { pathname: `/${name}` }).href
  return { url, drop: async () => void (await admin(sql => sql`drop database if exists ${sql(name)} with (force)`)) }
}

/** The configuration of the documentation, on databases of ours. */
function configFor(name: string, owner: string): string {
  const page = readFileSync(resolve(import.meta.dirname, '../../src/README.md'), 'utf8')
  const text = /```yaml\n([\s\S]+?)```/.exec(page)![1]!
  const config = parse(
    text
      .replaceAll('ed25519:…', `ed25519:${'A'.repeat(43)}`)
      .replaceAll('age1…', 'age1qqq')
      .replaceAll('age1other…', 'age1ppp'),
  )
  const url = (role: keyof typeof before.roleUrls) => {
    const variable = `TEST_${name.toUpperCase()}_${role.toUpperCase()}`
    process.env[variable] = Object.assign(new URL(before.roleUrls[role].reveal()), {
      pathname: new URL(owner).pathname,
    }).href
    return `env:${variable}`
  }
  process.env[`TEST_${name.toUpperCase()}_OWNER`] = owner
  config.database = {
    owner: `env:TEST_${name.toUpperCase()}_OWNER`,
    control: url('control'),
    gateway: url('gateway'),
    replay: url('replay'),
  }
  config.keys = { ...config.keys, control: `file:${keyFile}` }
  config.data = join(folder, `data-${name}`)
  config.audit = { copy: copy.path }
  delete config.recording.store
  delete config.recording.former_stores
  const path = join(folder, `${name}.yaml`)
  writeFileSync(path, stringify(config))
  return path
}

async function happen(url: string, n: number): Promise<void> {
  const database = openDatabase({ url: new Secret(url), max: 2, application: 'test' })
  const audit = createAuditWriter({ database, process_id: newId('prc') })
  for (let i = 0; i < n; i++)
    await database.db.transaction(tx => audit.record(tx, { type: 'vote.cast', body: { number: i, text: 'ä\n\t\\N' } }))
  await database.close()
}

async function verify(url: string) {
  const database = openDatabase({ url: new Secret(url), max: 2, application: 'test' })
  try {
    return await verifyLog(database, { vkey: vkey(origin, keys().publicKey), copy: copy.path })
  } finally {
    await database.close()
  }
}

describe('RE4: a backup', () => {
  const at = () => join(folder, 'backup')

  test('holds every row as of one moment, its files have their hashes, and the log says that it was made', async () => {
    const { sql } = before.database
    await sql`insert into subjects (id, kind, issuer, subject, name) values ('sub_x', 'person', 'i', 's', 'Erin')`
    await sql`insert into api_tokens (id, subject_id, name, hash, scopes, created_by, expires_at)
      values ('tok_x', 'sub_x', 'ci', '\\x00', '["*"]', 'sub_x', now() + interval '1 day')`
    await sql`insert into web_sessions (token_hash, subject_id, kind, expires_at) values ('\\x01', 'sub_x', 'web', now() + interval '1 day')`
    await happen(before.url.reveal(), 20)
    while ((await sequencer.step()) > 0);
    const config = configFor('before', before.url.reveal())
    await backup({ config, to: at() })
    expect(said.join('')).toContain('20 entries of the audit log')
    expect(said.join('')).toContain(`file:${keyFile}`)
    await expect(backup({ config, to: at() })).rejects.toMatchObject({ code: 'conflict' })
    const [event] = await sql`select body from audit_inbox where type = 'backup.made'`
    expect(JSON.parse(String(event?.['body']))).toMatchObject({ log_size: 20 })
    expect(readdirSync(at()).sort()).toEqual(['backup.json', 'sallyport.yaml', 'tables']) // no key, and nothing that holds one
  })

  test('that is restored goes back: what happened since is gone, and `audit verify` says so until it is declared', async () => {
    await happen(before.url.reveal(), 15)
    while ((await sequencer.step()) > 0);
    await sequencer.release()
    const config = configFor('after', after.url)
    said.length = 0
    await restore({ config, from: at() })
    const text = said.join('')
    expect(text).toContain('sallyport audit resume --from 36')
    expect(text).toContain('1 API tokens')
    const undeclared = await verify(after.url)
    expect(undeclared.ok).toBe(false)
    expect(undeclared.flaws.map(flaw => flaw.kind)).toContain('log_truncated')
    const restored = sequencerOf(new Secret(after.url))
    await happen(after.url, 1)
    expect(await restored.step()).toBe(0)
    expect(restored.problem?.code).toBe('went_back') // nothing is signed
    await expect(resumeAudit({ config, from: '35', reason: 'the disk died' })).rejects.toMatchObject({
      code: 'conflict',
    })
    await resumeAudit({ config, from: '36', reason: 'the disk died' })
    while ((await restored.step()) > 0);
    await restored.release()
    const declared = await verify(after.url)
    expect(declared.flaws).toEqual([])
    expect(declared.breaks).toMatchObject([{ abandoned: 36, resumed: 20 }])
  })

  test('brings back rows as they were, and nothing that gives access', async () => {
    const sql = postgres(after.url, { max: 1, onnotice: () => {} })
    try {
      expect(await sql`select name from subjects`).toEqual([{ name: 'Erin' }])
      expect(await sql`select 1 from web_sessions`).toEqual([])
      expect(await sql`select 1 from api_tokens where revoked_at is null`).toEqual([])
      const [body] = await sql`select body from audit_inbox where type = 'vote.cast' order by seq limit 1`
      expect(JSON.parse(String(body?.['body']))).toMatchObject({ text: 'ä\n\t\\N' })
      // a number that was given before the backup is not given again
      const [next] = await sql`
        select bool_and(s.last_value >= m.most) as goes_on from pg_sequences s,
          lateral (select case s.sequencename when 'audit_places_seq_seq' then (select max(seq) from audit_places) else 0 end as most) m
        where s.schemaname = 'public'`
      expect(next).toEqual({ goes_on: true })
    } finally {
      await sql.end({ timeout: 5 })
    }
  })

  test('is never restored over what is there, and not when a byte of it was changed', async () => {
    const config = configFor('after', after.url)
    await expect(restore({ config, from: at() })).rejects.toMatchObject({ code: 'conflict' })
    appendFileSync(join(at(), 'tables/subjects.copy.gz'), 'x')
    await expect(restore({ config, from: at() })).rejects.toThrow('the backup is damaged: tables/subjects.copy.gz')
  })
})
