import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { defaultPorts, portsOf, settlePorts } from '../../src/dev/ports.ts'
import { makePolicyRepository } from '../../src/dev/repository.ts'
import { SecretFolder, writeConfig } from '../../src/dev/settings.ts'
import { defaultDataDir } from '../../src/dev/world.ts'
import { loadConfig } from '../../src/load-config.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-dev-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))
const free = { control: 0, replay: 0, idp: 0, slack: 0, database: 0, shop: 0, gateway: 0, web: 0, ssh: 0 }

describe('ports', () => {
  test('the environment overrides the table, and nonsense is refused by name', () => {
    expect(portsOf({})).toEqual(defaultPorts)
    expect(portsOf({ SALLYPORT_PORT_CONTROL: '6000' })).toEqual({ ...defaultPorts, control: 6000 })
    for (const text of ['http', '-1', '70000', '1e3']) {
      expect(() => portsOf({ SALLYPORT_PORT_SHOP: text })).toThrow(/SALLYPORT_PORT_SHOP/)
    }
  })

  test('every taken port is named at once, with the variable that moves it', async () => {
    const servers = [net.createServer(), net.createServer()]
    const ports = await Promise.all(
      servers.map(
        server =>
          new Promise<number>(done =>
            server.listen(0, '127.0.0.1', () => done((server.address() as net.AddressInfo).port)),
          ),
      ),
    )
    const settled = settlePorts({ ...free, control: ports[0]!, shop: ports[1]! })
    await expect(settled).rejects.toMatchObject({ code: 'conflict' })
    await expect(settled).rejects.toThrow(
      new RegExp(`${ports[0]}.*SALLYPORT_PORT_CONTROL.*${ports[1]}.*SALLYPORT_PORT_SHOP`),
    )
    for (const server of servers) server.close()
  })

  test('0 becomes a free port, and one port for two parts is refused', async () => {
    const settled = Object.values(await settlePorts(free))
    expect(new Set(settled).size).toBe(Object.keys(free).length)
    await expect(settlePorts({ ...free, control: settled[0]!, shop: settled[0]! })).rejects.toThrow(/two parts/)
  })
})

describe('the policy repository', () => {
  const starter = () => {
    mkdirSync(join(folder, 'starter/resources'), { recursive: true })
    writeFileSync(join(folder, 'starter/resources/data.yaml'), 'shop-db:\n  address: 127.0.0.1:5455\n')
    return join(folder, 'starter')
  }
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', join(folder, 'policies'), ...args], { encoding: 'utf8' }).trim()

  test('it is made once on main with the address of the shop, and what was committed since stays', () => {
    expect(makePolicyRepository(join(folder, 'policies'), starter(), { shopPort: 6001, web: undefined })).toBe('made')
    expect(git('show', 'main:resources/data.yaml')).toContain('127.0.0.1:6001')
    expect(git('status', '--porcelain')).toBe('')
    git('-c', 'user.name=a', '-c', 'user.email=a@example.test', 'commit', '--allow-empty', '-qm', 'mine')
    expect(makePolicyRepository(join(folder, 'policies'), starter(), { shopPort: 6001, web: undefined })).toBe('kept')
    expect(git('log', '--format=%s')).toBe('mine\nStarter policies')
  })

  test('one that nobody changed gets what is new; one that somebody changed is offered it on a branch', () => {
    const policies = join(import.meta.dirname, '../../policies')
    const web = { port: 6003, hostKey: 'ssh-ed25519 AAAA', login: 'me' }
    const make = (with_: typeof web | undefined) =>
      makePolicyRepository(join(folder, 'policies'), policies, { shopPort: 6001, web: with_ })
    const resources = () => Object.keys(parse(git('show', 'main:resources/data.yaml')) as object)
    expect([make(undefined), make(undefined), resources()]).toEqual(['made', 'kept', ['shop-db', 'shop-prod']])
    expect([make(web), make(web), resources()]).toEqual(['updated', 'kept', ['shop-db', 'shop-prod', 'web-1']])
    expect(git('status', '--porcelain')).toBe('')
    writeFileSync(join(folder, 'policies/mine.md'), 'mine')
    git('add', '--all')
    git('-c', 'user.name=a', '-c', 'user.email=a@example.test', 'commit', '-qm', 'mine')
    expect([make({ ...web, port: 6004 }), resources()]).toEqual(['offered', ['shop-db', 'shop-prod', 'web-1']])
    git('-c', 'user.name=a', '-c', 'user.email=a@example.test', 'merge', '-q', '--no-edit', 'starter')
    expect(git('show', 'main:resources/data.yaml')).toContain('127.0.0.1:6004')
    expect([readFileSync(join(folder, 'policies/mine.md'), 'utf8'), make({ ...web, port: 6004 })]).toEqual([
      'mine',
      'kept',
    ])
  })

  test('a change that is not committed yet is nobody’s to overwrite', () => {
    const make = (shopPort: number) =>
      makePolicyRepository(join(folder, 'policies'), starter(), { shopPort, web: undefined })
    make(6001)
    writeFileSync(join(folder, 'policies/resources/data.yaml'), 'shop-db: {}\n')
    expect(make(6002)).toBe('offered')
    expect(readFileSync(join(folder, 'policies/resources/data.yaml'), 'utf8')).toBe('shop-db: {}\n')
  })

  test('the demo server stands in it as it runs here, and not at all where there is none', () => {
    const policies = join(import.meta.dirname, '../../policies')
    const web = { port: 6003, hostKey: 'ssh-ed25519 AAAA', login: 'me' }
    makePolicyRepository(join(folder, 'policies'), policies, { shopPort: 6001, web })
    const { 'web-1': server } = parse(git('show', 'main:resources/data.yaml')) as Record<string, object>
    const login = { reader: 'me', operator: 'me', root: 'me' }
    expect(server).toMatchObject({ address: '127.0.0.1:6003', options: { host_keys: ['ssh-ed25519 AAAA'], login } })
    makePolicyRepository(join(folder, 'without'), policies, { shopPort: 6001, web: undefined })
    expect(Object.keys(parse(readFileSync(join(folder, 'without/resources/data.yaml'), 'utf8')))).toEqual([
      'shop-db',
      'shop-prod',
    ])
  })

  test('a folder of that name which is no repository is not touched', () => {
    mkdirSync(join(folder, 'policies'))
    expect(() => makePolicyRepository(join(folder, 'policies'), starter(), { shopPort: 6001, web: undefined })).toThrow(
      /no git repository/,
    )
  })
})

describe('settings', () => {
  test('the configuration passes the check of production, and secrets stay in files of their owner', async () => {
    const secrets = new SecretFolder(join(folder, 'secrets'))
    const { path } = await writeConfig({
      dataDir: folder,
      secrets,
      ports: defaultPorts,
      issuer: 'http://127.0.0.1:5452',
      policies: join(folder, 'policies'),
      mirror: join(folder, 'mirror.git'),
      opa: '/usr/bin/opa',
      shopPasswordFile: secrets.path('shop'),
      web: undefined,
      slackApiUrl: 'http://127.0.0.1:5453/api/',
    })
    expect(loadConfig(path)).toMatchObject({
      development: true,
      gateway: { workers: 1 },
      allow_addresses: ['127.0.0.1:5455'],
    })
    const made = secrets.made('oidc-client').reveal()
    expect(secrets.made('oidc-client').reveal()).toBe(made)
    expect(statSync(secrets.path('oidc-client')).mode & 0o077).toBe(0)
    expect(readFileSync(path, 'utf8')).not.toContain(made)
    for (const name of ['control', 'gateway', 'replay', 'recordings'])
      expect(statSync(join(folder, 'keys', name)).mode & 0o177).toBe(0)
  })

  test('the data folder follows SALLYPORT_DATA, then the XDG state folder', () => {
    expect(defaultDataDir({ SALLYPORT_DATA: '/a', XDG_STATE_HOME: '/b' })).toBe('/a')
    expect(defaultDataDir({ XDG_STATE_HOME: '/b' })).toBe('/b/sallyport')
    expect(defaultDataDir({})).toMatch(/\.local\/state\/sallyport$/)
  })
})
