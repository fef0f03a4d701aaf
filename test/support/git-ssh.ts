import { readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { sshKeygen, startSshd } from '../protocols/ssh/sshd.ts'

/** A git server over ssh on loopback: Debian's sshd, which admits one deploy key. `folder` is of the test. */
export async function gitSshServer(folder: string) {
  const keyFile = join(folder, 'deploy')
  sshKeygen('-t', 'ed25519', '-f', keyFile)
  const admitted = join(folder, 'authorized_keys')
  writeFileSync(admitted, `restrict ${readFileSync(`${keyFile}.pub`, 'utf8')}`, { mode: 0o600 })
  const sshd = await startSshd(folder, [`AuthorizedKeysFile ${admitted}`, 'AcceptEnv GIT_PROTOCOL'])
  return {
    ...sshd,
    keyFile,
    key: readFileSync(keyFile, 'utf8'),
    /** As the setting wants it. */
    host_keys: [`ssh-ed25519 ${sshd.host_key.toString('base64')}`],
    source: (path: string) => `ssh://${userInfo().username}@127.0.0.1:${sshd.port}${path}`,
  }
}
