import { createHmac } from 'node:crypto'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { sshKeygen } from '../protocols/ssh/sshd.ts'
import { type GitServer, gitServer } from '../support/git-https.ts'
import { gitSshServer } from '../support/git-ssh.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** A policy repository on a real git server, by ssh and by https: followed, held, rolled back, recovered. */
const folder = mkdtempSync(join(tmpdir(), 'sallyport-sources-'))
const secret = 'of the journey'
let world: TestWorld
let ssh: Awaited<ReturnType<typeof gitSshServer>>
let https: GitServer
beforeAll(async () => {
  ssh = await gitSshServer(folder)
  writeFileSync(join(folder, 'hook'), secret, { mode: 0o600 })
  const policy = (policies: string) => ({
    source: ssh.source(policies),
    ssh: { key: `file:${ssh.keyFile}`, host_keys: ssh.host_keys },
    webhooks: { hmac: `file:${join(folder, 'hook')}` },
    poll_s: 3600, // nothing but a webhook wakes it
  })
  world = await startWorld({ tuning: { gateway_workers: 1, policy } })
  https = await gitServer(join(world.dev.dataDir))
})
afterAll(async () => {
  await world?.stop()
  await Promise.all([ssh?.stop(), https?.stop()])
  rmSync(folder, { recursive: true, force: true })
})

async function hook(): Promise<void> {
  const at = String(Math.floor(Date.now() / 1000))
  const signature = createHmac('sha256', secret).update(`${at}.{}`).digest('hex')
  const headers = { 'x-sallyport-timestamp': at, 'x-sallyport-signature': `sha256=${signature}` }
  const answer = await fetch(`${world.origin}/api/policy/webhook/hmac`, { method: 'POST', body: '{}', headers })
  expect(answer.status).toBe(202)
}

const sam = async (...args: string[]) => {
  const { code, stdout, stderr } = await world.person.sam.cli(...args)
  return { code, said: stdout + stderr }
}
const aCommand = [20_000, 400] as const // each look is a process of its own
const push = (name: string) => world.commit({ 'lib/people.rego': text => `${text}\n# ${name}\n` }, name)
const status = async (what: string | RegExp) =>
  world.until(
    async () => {
      const { said } = await sam('policy', 'status')
      expect(said).toMatch(what)
      return said
    },
    ...aCommand,
  )
const told = () => JSON.stringify(world.dev.slack.messages({ channel: 'policy' }))

describe('a policy repository that is reached by ssh', () => {
  test('is followed when a webhook says so; every process says which revision it runs', async () => {
    const commit = push('second')
    await hook()
    const said = await status(`commit ${commit}`)
    expect(said).toContain(`main is at ${commit}`)
    await status(
      /control .* generation 2 +ready[\s\S]*gateway .* generation 2 +ready[\s\S]*replay .* generation 2 +ready/,
    )
  })

  test('is not followed after a force-push, which the policy channel hears; a pin and an unpin go on from there', async () => {
    world.git('reset', '--hard', '--quiet', 'HEAD~1')
    const rewritten = push('another second')
    await hook()
    await status(/does not come from/)
    await world.until(() => expect(told()).toContain(`${rewritten.slice(0, 12)} was refused`))
    expect((await world.person.erin.cli('policy', 'pin', rewritten, '-m', 'mine')).code).not.toBe(0)
    expect((await sam('policy', 'pin', rewritten.slice(0, 12), '-m', 'the history was cleaned')).said).toContain(
      'generation 3',
    )
    await status(/pinned: .*the history was cleaned/)
    expect((await sam('policy', 'unpin', '-m', 'done')).code).toBe(0)
    const third = push('third')
    await hook()
    await status(`commit ${third}`)
    const back = await sam('policy', 'rollback', '-m', 'third was wrong')
    expect(back.said).toContain(`commit ${rewritten}`)
    expect((await sam('policy', 'history')).said).toMatch(/rolled_back from 3/)
    expect((await sam('policy', 'show', '4', '-o', join(folder, 'shown'))).code).toBe(0)
    expect(readFileSync(join(folder, 'shown/lib/people.rego'), 'utf8')).toContain('# third')
  })
})

test('recover puts a local policy into force without a sign-in, everybody hears it, and unpin ends it', async () => {
  const local = join(folder, 'local')
  cpSync(world.dev.policies, local, { recursive: true, filter: path => !path.endsWith('.git') })
  const recovered = await world.hostCli('recover', local, '-m', 'locked out', '--for', '10m')
  expect(recovered.stdout).toContain('generation 6 (recovery-')
  await status(/RECOVERY: generation 6, by .*locked out/)
  expect((await sam('status')).said).toMatch(/a RECOVERY policy is in force until .*locked out/)
  await world.until(() => expect(told()).toContain('RECOVERY'))
  expect((await world.hostCli('recover', local, '-m', 'longer', '--for', '2h')).code).not.toBe(0)
  expect((await sam('policy', 'unpin', '-m', 'mended')).said).toContain('The recovery is over')
  await status(/generation 7 /)
  expect((await sam('policy', 'unpin', '-m', 'on we go')).code).toBe(0)
  await status(/generation 8 /)
  const types = (
    await world.owner<{ type: string }[]>`
    select type from audit_inbox where type like 'revision.%' and type <> 'revision.activated' order by at_ms, wseq`
  ).map(e => e.type)
  expect(types).toEqual([
    'revision.refused',
    'revision.pinned',
    'revision.unpinned',
    'revision.rolled_back',
    'revision.recovered',
    'revision.recovery_ended',
    'revision.unpinned',
  ])
})

test('a deployment that moves to https and to signed commits goes on from the commit that it followed', async () => {
  const signer = join(folder, 'signer')
  sshKeygen('-t', 'ed25519', '-f', signer)
  writeFileSync(join(folder, 'allowed'), `sam@example.test ${readFileSync(`${signer}.pub`, 'utf8')}`)
  writeFileSync(join(folder, 'token'), 'right', { mode: 0o600 })
  const settings = parse(readFileSync(world.dev.configPath, 'utf8'))
  settings.policy = {
    ...settings.policy,
    source: `${https.origin}/policies/.git`,
    ca: https.ca,
    token: `file:${join(folder, 'token')}`,
    signatures: { allowed_signers: join(folder, 'allowed') },
  }
  delete settings.policy.ssh
  writeFileSync(world.dev.configPath, stringify(settings))
  await world.dev.children.control.stop()
  await world.startControl()
  const unsigned = push('unsigned')
  await hook()
  await status(new RegExp(`${unsigned} did not pass[\\s\\S]*is not signed`))
  world.git('config', 'gpg.format', 'ssh')
  world.git('config', 'user.signingkey', signer)
  world.git(
    '-c',
    'user.name=Eli',
    '-c',
    'user.email=eli@example.test',
    'commit',
    '-S',
    '--allow-empty',
    '--quiet',
    '-m',
    'signed',
  )
  await hook()
  await status(/generation 9 /)
  const { said } = await sam('policy', 'history', '--limit', '1')
  expect(said).toMatch(/followed +Eli <eli@example.test> +sam@example.test ssh SHA256:/)
})
