import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { newId } from '../../src/ids.ts'
import { GitMirror } from '../../src/policy/repository/git.ts'
import { deliverNotices } from '../../src/policy/repository/notices.ts'
import { changeState } from '../../src/policy/repository/policy-state.ts'
import { recover } from '../../src/policy/repository/recovery.ts'
import type { SignatureOptions } from '../../src/policy/repository/signature.ts'
import { activate, compiledCandidate, listRevisions } from '../../src/policy/revision-store.ts'
import { sshKeygen } from '../protocols/ssh/sshd.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { commit, folder, git, removeFolders, repository, starterRepository } from './repositories.ts'
import { keys, rawBundle, starter } from './support.ts'

afterAll(removeFolders)

/** A key of ssh-keygen, how git signs with it, and its line in a file of allowed signers. */
function sshSigner(principal: string, options = '') {
  const file = join(folder(), 'signer')
  sshKeygen('-t', 'ed25519', '-f', file)
  const line = `${principal} ${options}${options === '' ? '' : ' '}namespaces="git" ${readFileSync(`${file}.pub`, 'utf8')}`
  const fingerprint = execFileSync('ssh-keygen', ['-lf', file], { encoding: 'utf8' }).split(' ')[1]!
  return { line, fingerprint, settings: ['gpg.format=ssh', `user.signingkey=${file}`] }
}

let homes = 0
/** A key of gpg in a home of its own. Its agent ends by itself: it has no home any more. */
function gpgSigner(name: string, expires = '0') {
  const home = join(folder(), String(homes++))
  const gpg = (...args: string[]) =>
    execFileSync(
      'gpg',
      ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', '', ...args],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
  execFileSync('mkdir', ['-m', '700', home])
  gpg('--quick-generate-key', name, 'ed25519', 'sign', expires)
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(gpg('--with-colons', '--list-keys'))![1]!
  const program = join(home, 'sign')
  writeFileSync(
    program,
    `#!/bin/sh\nexec gpg --homedir '${home}' --batch --pinentry-mode loopback --passphrase '' "$@"\n`,
    { mode: 0o755 },
  )
  return {
    home,
    gpg,
    fingerprint,
    keys: () => gpg('--export', '--armor'),
    settings: [`gpg.program=${program}`, `user.signingkey=${fingerprint}`],
  }
}

function signers(files: { ssh?: string; openpgp?: string }): SignatureOptions {
  const dir = folder()
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text)
  return {
    ...(files.ssh === undefined ? {} : { allowed_signers: join(dir, 'ssh') }),
    ...(files.openpgp === undefined ? {} : { openpgp: join(dir, 'openpgp') }),
  }
}

const signed = (dir: string, settings: readonly string[]) => commit(dir, [], 'signed', { settings, options: ['-S'] })

async function verify(dir: string, signatures: SignatureOptions): Promise<string | null> {
  const mirror = new GitMirror({ source: dir, ref: 'main', dir: folder(), signatures })
  return mirror.verify((await mirror.fetch()).commit)
}

describe('a commit signed with ssh', () => {
  const sam = sshSigner('sam@example.test')
  const mallory = sshSigner('mallory@example.test')
  const allowed = signers({ ssh: sam.line })

  test('is followed when the file of the deployment names its signer, who stands apart from the author', async () => {
    const dir = starterRepository()
    signed(dir, sam.settings)
    expect(await verify(dir, allowed)).toBe(`sam@example.test ssh ${sam.fingerprint}`)
  })

  test.each([
    ['not signed', (dir: string) => commit(dir, [], 'unsigned'), 'is not signed'],
    ['signed by somebody else', (dir: string) => signed(dir, mallory.settings), 'no good signature'],
  ])('is refused when it is %s', async (_, make, why) => {
    const dir = starterRepository()
    make(dir)
    await expect(verify(dir, allowed)).rejects.toMatchObject({
      problems: [{ code: 'signature', message: expect.stringContaining(why) }],
    })
  })

  test('is refused when it was changed after it was signed', async () => {
    const dir = starterRepository()
    signed(dir, sam.settings)
    const text = execFileSync('git', ['-C', dir, 'cat-file', 'commit', 'HEAD'], { encoding: 'utf8' })
    const forged = execFileSync('git', ['-C', dir, 'hash-object', '-t', 'commit', '-w', '--stdin'], {
      encoding: 'utf8',
      input: text.replace('Mallory', 'Malfoy'),
    }).trim()
    git(dir, 'update-ref', 'refs/heads/main', forged)
    await expect(verify(dir, allowed)).rejects.toMatchObject({ problems: [{ code: 'signature' }] })
  })

  test('is refused for another purpose than git, and by a key whose time is over', async () => {
    const dir = starterRepository()
    signed(dir, sam.settings)
    await expect(verify(dir, signers({ ssh: sam.line.replace('"git"', '"file"') }))).rejects.toThrow(
      'no good signature',
    )
    const over = sam.line.replace('namespaces', 'valid-before="20200101",namespaces')
    await expect(verify(dir, signers({ ssh: over }))).rejects.toThrow('no good signature')
  })

  test('does not bring its own signers: files and settings of the repository count for nothing', async () => {
    const dir = starterRepository()
    commit(dir, [
      ['allowed_signers', mallory.line],
      ['.gitconfig', '[gpg "ssh"]\n\tallowedSignersFile = allowed_signers\n'],
    ])
    git(dir, 'config', 'gpg.ssh.allowedSignersFile', join(dir, 'allowed_signers'))
    signed(dir, mallory.settings)
    await expect(verify(dir, allowed)).rejects.toThrow('no good signature')
    await expect(verify(dir, signers({ openpgp: gpgSigner('Ada <ada@example.test>').keys() }))).rejects.toThrow(
      'no good signature',
    )
  })

  test('is not put back into force once its key was taken off the list, without asking any git server', async () => {
    const dir = starterRepository()
    signed(dir, sam.settings)
    const signer = await verify(dir, allowed)
    const mayReturn = (signatures?: SignatureOptions, of: string | null = signer) =>
      new GitMirror({ source: '/nonexistent', ref: 'main', dir: folder(), signatures }).mayReturn(of)
    expect(await mayReturn(allowed)).toBe(true)
    expect(await mayReturn(signers({ ssh: `# ${sam.line}${mallory.line}` }))).toBe(false)
    expect(
      await mayReturn(signers({ ssh: `*@example.test cert-authority ${sam.line.split(' ').slice(2).join(' ')}` })),
    ).toBe(false)
    expect(await mayReturn(allowed, null)).toBe(false)
    expect(await mayReturn(undefined, null)).toBe(true)
    await expect(mayReturn({ allowed_signers: '/nonexistent/signers' })).rejects.toMatchObject({
      code: 'policy_unavailable',
    })
  })

  test('is not judged while the file of signers is missing: that is no fault of the commit', async () => {
    const dir = starterRepository()
    signed(dir, sam.settings)
    await expect(verify(dir, { allowed_signers: '/nonexistent/signers' })).rejects.toMatchObject({
      code: 'policy_unavailable',
    })
  })
})

describe('a commit signed with OpenPGP', () => {
  const ada = gpgSigner('Ada Lovelace <ada@example.test>')
  const mallory = gpgSigner('Ada Lovelace <ada@example.test>')

  test('is not put back into force once its key is gone or revoked', async () => {
    const dir = starterRepository()
    signed(dir, ada.settings)
    const signer = await verify(dir, signers({ openpgp: ada.keys() }))
    const mayReturn = (signatures: SignatureOptions) =>
      new GitMirror({ source: '/nonexistent', ref: 'main', dir: folder(), signatures }).mayReturn(signer)
    expect(await mayReturn(signers({ openpgp: ada.keys() + mallory.keys() }))).toBe(true)
    expect(await mayReturn(signers({ openpgp: mallory.keys() }))).toBe(false)
    expect(await mayReturn(signers({ ssh: sshSigner('ada@example.test').line }))).toBe(false)
  })

  test('is followed when its key is among those of the deployment', async () => {
    const dir = starterRepository()
    signed(dir, ada.settings)
    const expected = `Ada Lovelace <ada@example.test> openpgp ${ada.fingerprint}`
    expect(await verify(dir, signers({ openpgp: ada.keys() }))).toBe(expected)
    expect(await verify(dir, signers({ openpgp: ada.keys(), ssh: sshSigner('x').line }))).toBe(expected)
  })

  test('is refused for another key of the same name, for an expired and for a revoked one', async () => {
    const dir = starterRepository()
    signed(dir, mallory.settings)
    await expect(verify(dir, signers({ openpgp: ada.keys() }))).rejects.toThrow('no good signature')
    signed(dir, ada.settings)
    ada.gpg('--quick-set-expire', ada.fingerprint, 'seconds=1')
    await new Promise(done => setTimeout(done, 2_100))
    await expect(verify(dir, signers({ openpgp: ada.keys() }))).rejects.toThrow('no good signature')
    const revoked = readFileSync(join(mallory.home, 'openpgp-revocs.d', `${mallory.fingerprint}.rev`), 'utf8').replace(
      ':-----',
      '-----',
    )
    writeFileSync(join(mallory.home, 'rev'), revoked)
    signed(dir, mallory.settings)
    expect(await verify(dir, signers({ openpgp: mallory.keys() }))).toContain(mallory.fingerprint)
    mallory.gpg('--import', join(mallory.home, 'rev'))
    await expect(verify(dir, signers({ openpgp: mallory.keys() }))).rejects.toThrow('no good signature')
  })
})

describe('a deployment that follows signed commits only', () => {
  const sam = sshSigner('sam@example.test')
  let db: TestDatabase
  beforeAll(async () => {
    db = await createTestDatabase()
  })
  afterAll(() => db.drop())

  test('PO7: activates what is signed, records signer and author apart, and goes back to nothing that is not', async () => {
    const dir = starterRepository()
    const unsigned = git(dir, 'rev-parse', 'HEAD')
    const by = { subject_id: 'sub_sam', name: 'Sam', reason: 'why not' }
    await repository(dir, db).poll() // before signatures were demanded
    const control = repository(dir, db, {
      git: { source: dir, ref: 'main', dir: folder(), signatures: signers({ ssh: sam.line }) },
    })
    const good = signed(dir, sam.settings)
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: good })
    expect((await listRevisions(db.database.db, 1))[0]).toMatchObject({
      author: 'Mallory <m@example.com>',
      signer: `sam@example.test ssh ${sam.fingerprint}`,
    })
    const next = commit(
      dir,
      [['action/action.rego', 'package sallyport.action\nnonsense']],
      'unsigned, and would not compile',
    )
    expect(await control.poll()).toMatchObject({ outcome: 'refused', commit: next, problems: [{ code: 'signature' }] })
    await expect(control.rollback(1, by)).rejects.toMatchObject({
      message: expect.stringContaining('without a verified signature'),
    })
    await expect(control.pin(unsigned, by)).rejects.toMatchObject({ message: expect.stringContaining('is not signed') })
    expect((await listRevisions(db.database.db, 1))[0]?.commit).toBe(good)
  })

  test('a recovery needs no signature, and says so; what was in force before it comes back only while its signer is one', async () => {
    const dir = starterRepository()
    const signatures = signers({ ssh: sam.line })
    const other = await createTestDatabase()
    const { database } = other
    const store = {
      database,
      audit: createAuditWriter({ database, process_id: newId('prc') }),
      key: keys.privateKey,
    }
    const control = repository(dir, other, { git: { source: dir, ref: 'main', dir: folder(), signatures } })
    const good = signed(dir, sam.settings)
    const signer = `sam@example.test ssh ${sam.fingerprint}`
    const candidate = async (commit: string, of: { signer: string | null }, kind: 'followed' | 'recovery') => ({
      ...compiledCandidate({ commit, author: 'x', subject_line: 'x', ...of }, await rawBundle({}), starter(), kind),
      ...(kind === 'recovery' ? { ends_in_s: 60 } : {}),
    })
    const told = async () => {
      const heard: string[] = []
      await deliverNotices(database, async message => void heard.push(message))
      return heard.join('\n')
    }
    const over = () => database.sql`update policy_state set recovery_ends_at = now()`
    await activate(
      store,
      await candidate(good, { signer }, 'followed'),
      async () => null,
      async tx => changeState(tx, { followed: good, current_at: new Date() }),
    )
    const by = { who: 'root@control', reason: 'locked out', unsigned: 'it is a folder, and not a signed commit' }
    await recover(store, await candidate('recovery-1', { signer: null }, 'recovery'), by)
    expect(await told()).toContain('No allowed signer signed it: it is a folder')
    await over()
    await control.endDueRecovery()
    expect((await listRevisions(database.db, 1))[0]).toMatchObject({ commit: good, kind: 'returned', signer })

    await recover(store, await candidate('recovery-2', { signer: null }, 'recovery'), by)
    rmSync(signatures.allowed_signers!)
    await over()
    await expect(control.endDueRecovery()).rejects.toMatchObject({ code: 'policy_unavailable' }) // and is tried again
    writeFileSync(signatures.allowed_signers!, sshSigner('sam@example.test').line)
    await control.endDueRecovery()
    expect((await listRevisions(database.db, 1))[0]).toMatchObject({ commit: 'recovery-2', kind: 'recovery' })
    expect(await told()).toContain(`was signed by ${signer}, who is not among policy.signatures any more`)
    expect(await control.poll()).toMatchObject({ outcome: 'refused', problems: [{ code: 'signature' }] })
    const [ended] = await database.sql<{ body: string }[]>`
      select body from audit_inbox where type = 'revision.recovery_ended' order by at_ms desc, wseq desc limit 1`
    expect(JSON.parse(ended!.body)).toMatchObject({
      back_to: null,
      not_back: expect.stringContaining(good.slice(0, 12)),
    })
    await other.drop()
  })
})
