import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readLocal } from '../../src/cli/recover.ts'
import { commit, folder, git, removeFolders, starterRepository } from '../policy/repositories.ts'
import { starter } from '../policy/support.ts'

afterAll(removeFolders)
const settings = { policy: { ref: 'main' } }

test('recover takes a folder as it lies there, under a name that is its content', async () => {
  const copy = join(folder(), 'policies')
  cpSync(starterRepository(), copy, { recursive: true })
  rmSync(join(copy, '.git'), { recursive: true })
  const { of, sources } = await readLocal(copy, settings, 'root@control')
  expect(of).toMatchObject({
    commit: expect.stringMatching(/^recovery-[0-9a-f]{20}$/),
    author: 'root@control',
    signer: null,
  })
  expect([...sources.keys()]).toEqual([...starter().keys()])
  expect((await readLocal(copy, settings, 'root')).of.commit).toBe(of.commit)
})

test('recover takes a commit of a local repository, and nothing else of it', async () => {
  const dir = starterRepository()
  const good = git(dir, 'rev-parse', 'HEAD')
  commit(dir, [['lib/broken.rego', 'package sallyport.lib.broken\nnonsense']], 'broken')
  const { of, sources } = await readLocal(`${dir}@${good.slice(0, 10)}`, settings, 'root')
  expect(of).toMatchObject({ commit: good, author: 'Mallory <m@example.com>', subject_line: 'the starter policies' })
  expect([...sources.keys()]).not.toContain('lib/broken.rego')
  await expect(readLocal(`${dir}@${'f'.repeat(10)}`, settings, 'root')).rejects.toMatchObject({ code: 'not_found' })
  await expect(readLocal(folder(), settings, 'root')).rejects.toMatchObject({ code: 'not_found' })
})
