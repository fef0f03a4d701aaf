import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import type { CommandLine, IssuedTicket } from '../../../src/gateway/protocol.ts'
import { sshConfig } from '../../../src/protocols/ssh/cli/config.ts'
import { harden } from '../../../src/protocols/ssh/cli/harden.ts'
import { runSsh } from '../../../src/protocols/ssh/cli/run.ts'
import { sshTicket } from '../../../src/protocols/ssh/cli/ticket.ts'
import { prepare } from '../../../src/protocols/ssh/person.ts'
import { credential } from '../../../src/protocols/ssh/tickets.ts'
import { publicKeyBlob, publicKeyLine } from '../../../src/protocols/ssh/wire/public-key.ts'
import { Secret } from '../../../src/secret.ts'

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

const pair = generateKeyPairSync('ed25519')
const line = publicKeyLine(publicKeyBlob(pair.publicKey))
const published = { host_key: line, target_ca: line }

let folder: string
let said: string[]
let open: boolean
let issued: number
let resources: unknown[]
let host: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport ssh-cli '))
  folders.push(folder)
  said = []
  open = true
  issued = 0
  resources = [{ name: 'web-1', protocol: 'ssh', via: 'ssh', roles: [{ role: 'operator' }, { role: 'root' }] }]
  host = '127.0.0.1'
})

/** A command line whose control plane answers what the test says. */
function commandLine(good_for_ms = 60_000): CommandLine {
  const answers: Record<string, () => unknown> = {
    '/api/resources': () => ({ items: resources }),
    '/api/gateways/ssh': () => ({ host, port: 6422, ca: '', published }),
  }
  return {
    origin: 'http://127.0.0.1:1',
    folder,
    profile: 'default',
    program: ['node', '/no where/main.js'],
    client: () => {
      throw new Error('not of this test')
    },
    get: async <T>(path: string) => (answers[path]?.() ?? { open: path.startsWith('/api/tickets/tkt_') && open }) as T,
    start: async () => 7,
    say: each => said.push(each),
    ticket: async resource => {
      const { offer, secret } = prepare()
      const id = `tkt_${String(++issued).padStart(26, '0')}`
      const now_ms = Date.now()
      const terms = { id, role: 'operator', from: ['0.0.0.0/0', '::/0'], now_ms, ends_at_ms: now_ms + good_for_ms }
      mkdirSync(join(folder, 'tickets'), { recursive: true })
      return {
        ...terms,
        secret: new Secret('one-time'),
        resource: { name: resource, protocol: 'ssh' },
        host,
        port: 6422,
        ca_file: '',
        expires_at_ms: terms.ends_at_ms,
        credential: credential(terms, offer, () => pair),
        published,
        prepared: secret,
        folder: mkdtempSync(join(folder, 'tickets/ticket-')),
      } as unknown as IssuedTicket
    },
  }
}

const settings = () => readFileSync(join(folder, 'ssh/default/hosts/web-1.conf'), 'utf8')

describe('ssh-config', () => {
  test('ssh itself reads from it where each name leads, and that nothing leads on without a ticket', async () => {
    await sshConfig(commandLine(), {})
    const config = join(folder, 'ssh/default/config')
    const program = join(folder, 'ssh/default/ticket')
    expect(statSync(config).mode & 0o777).toBe(0o600)
    writeFileSync(program, '#!/bin/sh\necho "$@" >> "$0.log"\nexit 1\n')
    const seen = spawnSync('ssh', ['-G', '-F', config, 'web-1.root'], { encoding: 'utf8' })
    expect(seen.stdout).toMatch(/^proxycommand false$/m)
    expect(readFileSync(`${program}.log`, 'utf8')).toBe('web-1 root\n')
    writeFileSync(program, '#!/bin/sh\nexit 0\n')
    await sshTicket(commandLine(), 'web-1', {})
    const good = spawnSync('ssh', ['-G', '-F', config, 'web-1'], { encoding: 'utf8' }).stdout
    expect(good).toMatch(/^hostname 127\.0\.0\.1$/m)
    expect(good).toMatch(/^port 6422$/m)
    expect(good).toMatch(/^user tkt_0+1$/m)
    expect(good).toMatch(/^stricthostkeychecking true$/m)
    expect(good).not.toMatch(/^proxycommand false$/m)
  })

  test('what a control plane calls a resource, a role, a host or a key cannot become a line of ssh’s settings', async () => {
    const evil = 'x\n  ProxyCommand touch /tmp/never'
    resources = [
      { name: evil, protocol: 'ssh', roles: [] },
      { name: '*', protocol: 'ssh', via: 'ssh', roles: [] },
      { name: 'web-2', protocol: 'ssh', via: 'ssh', roles: [{ role: evil }, { role: 'a*' }] },
    ]
    await sshConfig(commandLine(), { print: true })
    expect(said.join('\n')).not.toContain('never')
    expect(said.filter(each => each.startsWith('Host '))).toEqual(['Host web-2'])
    host = evil
    await expect(sshConfig(commandLine(), {})).rejects.toThrow(/address that is none/)
    await expect(sshTicket(commandLine(), 'web-1', {})).rejects.toThrow(/address that is none/)
    await expect(sshTicket(commandLine(), evil, {})).rejects.toThrow(/no name of a server/)
  })

  test('the one line goes first into a file, once', async () => {
    const own = join(folder, 'own')
    writeFileSync(own, 'Host x\n  User y\n')
    for (let n = 0; n < 2; n++) await sshConfig(commandLine(), { install: own })
    expect(readFileSync(own, 'utf8')).toBe(`Include "${folder}/ssh/default/config"\n\nHost x\n  User y\n`)
  })
})

describe('ssh-ticket', () => {
  test('one that works is kept; one that opens nothing or is about to end is replaced, and its key is gone', async () => {
    await sshTicket(commandLine(), 'web-1', {})
    const first = settings()
    await sshTicket(commandLine(), 'web-1', {})
    expect([issued, settings()]).toEqual([1, first])
    open = false
    await sshTicket(commandLine(1000), 'web-1', {})
    expect(issued).toBe(2)
    expect(() => statSync(/^IdentityFile "(.+)"$/m.exec(first)![1]!)).toThrow(/ENOENT/)
    open = true
    await sshTicket(commandLine(), 'web-1', {})
    expect(issued).toBe(3)
  })

  test('of many at once one fetches, and all return', async () => {
    expect(await Promise.all(Array.from({ length: 20 }, () => sshTicket(commandLine(), 'web-1', {})))).toEqual(
      Array(20).fill(0),
    )
    expect(issued).toBe(1)
    expect(statSync(join(folder, 'ssh/default')).mode & 0o777).toBe(0o700)
  })
})

test('ssh gives back the exit code of its client, and the ticket’s folder is gone', async () => {
  expect(await runSsh(commandLine(), 'web-1', ['uptime'], {})).toBe(7)
  expect(execFileSync('ls', [join(folder, 'tickets')], { encoding: 'utf8' })).toBe('')
  await expect(runSsh(commandLine(), 'shop-db', [], {})).rejects.toThrow(/no server 'shop-db'/)
})

test('harden: sshd takes what it prints, and a login is a name', async () => {
  await harden(commandLine(), ['deploy', 'ops'], { script: true })
  const script = join(folder, 'harden.sh')
  writeFileSync(script, said.join('\n'))
  mkdirSync(join(folder, 'root/etc/ssh'), { recursive: true })
  execFileSync('sh', [script, join(folder, 'root')])
  expect(readFileSync(join(folder, 'root/etc/ssh/sallyport_ca.pub'), 'utf8')).toContain(line)
  const key = join(folder, 'host')
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  mkdirSync('/run/sshd', { recursive: true })
  const drop = join(folder, 'root/etc/ssh/sshd_config.d/10-sallyport.conf')
  const wanted = spawnSync('/usr/sbin/sshd', ['-T', '-f', drop, '-h', key, '-C', 'user=deploy,host=x,addr=1.2.3.4'], {
    encoding: 'utf8',
  })
  expect(wanted.stdout).toMatch(/^trustedusercakeys \/etc\/ssh\/sallyport_ca\.pub$/m)
  expect(wanted.stdout).toMatch(/^authorizedkeysfile none$/m)
  const others = spawnSync('/usr/sbin/sshd', ['-T', '-f', drop, '-h', key, '-C', 'user=root,host=x,addr=1.2.3.4'], {
    encoding: 'utf8',
  })
  expect(others.stdout).not.toMatch(/^authorizedkeysfile none$/m)
  await expect(harden(commandLine(), ['a b'], {})).rejects.toThrow(/no name of a login/)
})
