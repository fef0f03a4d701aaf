import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { newId } from '../../src/ids.ts'
import { bundleDigest } from '../../src/policy/bundle.ts'
import { compile } from '../../src/policy/gate.ts'
import { Refused } from '../../src/policy/problem.ts'
import { packSources, revisionSources, sourcesArchive, unpackSources } from '../../src/policy/revision-sources.ts'
import { activate, compiledCandidate } from '../../src/policy/revision-store.ts'
import { readTar, writeTar } from '../../src/policy/tar.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { acceptAll, bundleOf, keys, opaPath, starter } from './support.ts'

describe('an archive of sources', () => {
  test('gives back every file, long names and empty files too, and is equal for equal files', () => {
    const long = `${'lib/'.repeat(50)}x.rego`
    const files = new Map([
      [long, Buffer.from('long')],
      ['lib/empty.rego', Buffer.alloc(0)],
      ['lib/block.rego', Buffer.alloc(512, 'a')],
      ['lib/more.rego', Buffer.alloc(513, 'b')],
    ])
    expect(new Map([...readTar(writeTar(files))].sort())).toEqual(new Map([...files].sort()))
    expect(writeTar(new Map([...files].reverse()))).toEqual(writeTar(files))
  })

  test('takes a long name from a record of its own, not out of the middle of another, however long that is', () => {
    const files = new Map([[`${'lib/'.repeat(50)}x.rego`, Buffer.from('x')]])
    const archive = writeTar(files)
    const record = archive.toString('latin1').indexOf(' path=')
    archive.write('comment=1 path=access/evil.rego\n', record + 1, 'latin1')
    expect([...readTar(archive).keys()]).not.toContain('access/evil.rego')
    const digits = Buffer.from('1'.repeat(2_000_000))
    const long = writeTar(new Map([['x', digits]]))
    long[156] = 'x'.charCodeAt(0) // the file is a header now
    expect(readTar(long).size).toBe(0)
  })

  test('that is cut off, or holds what the gate would not have read, is refused', () => {
    const archive = packSources(starter())
    expect([...unpackSources(archive).keys()]).toEqual([...starter().keys()])
    expect(() => unpackSources(archive.subarray(0, archive.length / 2))).toThrow()
    expect(() => unpackSources(packSources(new Map([['../x.rego', Buffer.from('')]])))).toThrow(Refused)
  })
})

describe('the sources of a revision', () => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await createTestDatabase()
  })
  afterAll(() => db.drop())

  test('are found by generation and by commit, and compile to the digest that was signed', async () => {
    const store = {
      database: db.database,
      audit: createAuditWriter({ database: db.database, process_id: newId('prc') }),
      key: keys.privateKey,
    }
    const commit = 'a'.repeat(40)
    const of = { commit, author: 'Ada <ada@example.com>', subject_line: 'first', signer: null }
    const candidate = compiledCandidate(of, await bundleOf(), starter(), 'followed')
    for (let n = 0; n < 2; n++)
      await activate(
        store,
        candidate,
        async () => null,
        async () => {},
      )
    const found = await revisionSources(db.database.db, commit)
    expect(found).toMatchObject({ generation: 2, commit, digest: candidate.digest })
    expect(await revisionSources(db.database.db, 1)).toMatchObject({ generation: 1, commit })
    const { bundle } = await compile(found!.sources, { opa: opaPath(), protocols: acceptAll })
    expect(bundleDigest(bundle)).toBe(found!.digest)
    expect(unpackSources((await sourcesArchive(db.database.db, 1))!.archive)).toEqual(found!.sources)
    expect(await revisionSources(db.database.db, 'b'.repeat(40))).toBeUndefined()
    await db.database.sql`update revisions set sources = null where generation = 1`
    expect(await revisionSources(db.database.db, 1)).toBeUndefined()
  })
})
