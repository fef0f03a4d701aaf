import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readLocal } from '../../src/cli/recover.ts'
import { commit, folder, git, removeFolders, starterRepository } from '../policy/repositories.ts'
import { lean } from '../policy/support.ts'
import { sshKeygen } from '../protocols/ssh/sshd.ts'

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
  expect([...sources.keys()]).toEqual([...lean().keys()])
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

test('recover verifies who signed a commit, where the deployment asks for it, and says why nobody did', async () => {
  const dir = starterRepository()
  const unsigned = git(dir, 'rev-parse', 'HEAD')
  const key = join(folder(), 'signer')
  sshKeygen('-t', 'ed25519', '-f', key)
  const allowed_signers = join(folder(), 'allowed_signers')
  writeFileSync(allowed_signers, `sam@example.test namespaces="git" ${readFileSync(`${key}.pub`, 'utf8')}`)
  const signed = commit(dir, [], 'signed', {
    settings: ['gpg.format=ssh', `user.signingkey=${key}`],
    options: ['-S'],
  })
  const read = async (source: string, signers = allowed_signers) => {
    const { of, unsigned } = await readLocal(
      source,
      { policy: { ref: 'main', signatures: { allowed_signers: signers } } },
      'root',
    )
    return [of.signer, unsigned]
  }
  expect(await read(`${dir}@${signed}`)).toEqual([expect.stringMatching(/^sam@example\.test ssh SHA256:/), undefined])
  expect(await read(`${dir}@${unsigned}`)).toEqual([null, expect.stringContaining('is not signed')])
  expect(await read(dir)).toEqual([null, expect.stringContaining('it is a folder')])
  expect(await read(`${dir}@${signed}`, '/nonexistent')).toEqual([null, expect.stringContaining('is not there')])
  expect((await readLocal(`${dir}@${unsigned}`, settings, 'root')).unsigned).toBeUndefined()
})
