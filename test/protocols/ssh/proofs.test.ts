import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { run } from './sshd.ts'
import { createSshWorld, type SshWorld } from './world.ts'

/** What OpenSSH's own client makes of passwords and unknown keys: no terminal, so `SSH_ASKPASS` stands for the person. */
let world: SshWorld
let asked: string
let options: string[]
beforeAll(async () => {
  world = await createSshWorld()
  asked = join(world.world.folder, 'askpass')
  writeFileSync(asked, '#!/bin/sh\nprintf "%s" "$1" >> "$0.log"\nprintf "%s\\n" "$SALLYPORT_TEST_ANSWER"\n')
  chmodSync(asked, 0o700)
  options = [
    '-F',
    '/dev/null',
    '-p',
    String(world.port),
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'UserKnownHostsFile=/dev/null',
  ]
  options.push('-o', 'IdentityAgent=none', '-o', 'NumberOfPasswordPrompts=1')
})
afterAll(() => world?.close())

const byHand = (user: string, answer: string, ...more: string[]) =>
  run('ssh', [...options, ...more, `${user}@127.0.0.1`, 'echo in'], '', {
    env: {
      PATH: process.env['PATH'],
      HOME: world.world.folder,
      SSH_ASKPASS: asked,
      SSH_ASKPASS_REQUIRE: 'force',
      DISPLAY: 'none',
      SALLYPORT_TEST_ANSWER: answer,
    },
  })

test('the secret of a ticket opens it as a password and as the answer to keyboard-interactive', async () => {
  for (const way of ['password', 'keyboard-interactive']) {
    const issued = await world.ticket()
    const said = await byHand(issued.id, issued.secret.reveal(), '-o', `PreferredAuthentications=${way}`)
    expect([way, said.code, said.out]).toEqual([way, 0, 'in\n'])
  }
})

test('an unknown key is told, in ssh’s own output, where to sign in and what to run', async () => {
  const key = join(world.world.folder, 'unknown')
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  const said = await byHand(
    'erin',
    'nothing',
    '-i',
    key,
    '-o',
    'IdentitiesOnly=yes',
    '-o',
    'PreferredAuthentications=publickey,keyboard-interactive',
  )
  expect(said.code).toBe(255)
  expect(said.err).toContain('Sign in at http://sallyport.test and run: sallyport connect NAME')
})
