import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded.ts'
import { processesBelow, runUntilFirstLine } from '../support/children.ts'

const folders: string[] = []
const servers: EmbeddedServer[] = []

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sallyport-embedded-'))
  folders.push(path)
  return join(path, 'db')
}

async function start(dataDir: string, port = 0): Promise<EmbeddedServer> {
  const server = await startEmbedded({
    name: 'the embedded database',
    dataDir,
    port,
    superuser: 'owner',
    durable: false,
  })
  servers.push(server)
  return server
}

async function ask<Row>(server: EmbeddedServer, query: string): Promise<Row[]> {
  const sql = postgres(server.url('postgres').reveal(), { max: 1, onnotice: () => {} })
  try {
    return (await sql.unsafe(query)) as unknown as Row[]
  } finally {
    await sql.end()
  }
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
  for (const path of folders.splice(0)) {
    await vi.waitFor(() => expect(processesBelow(path)).toEqual([]), 10_000)
    rmSync(path, { recursive: true, force: true })
  }
})

describe('the embedded PostgreSQL', () => {
  test('it keeps data over restarts and listens on loopback only, with a password', async () => {
    const dataDir = folder()
    const first = await start(dataDir)
    await ask(first, 'create table kept as select 42 as n')
    await first.stop()
    expect(processesBelow(dataDir)).toEqual([])
    const second = await start(dataDir, first.port)
    expect(await ask(second, 'select n from kept')).toEqual([{ n: 42 }])
    expect(await ask(second, 'show listen_addresses')).toEqual([{ listen_addresses: '127.0.0.1' }])
    const wrong = postgres({
      host: '127.0.0.1',
      port: second.port,
      user: 'owner',
      password: 'wrong',
      database: 'postgres',
      max: 1,
    })
    await expect(wrong`select 1`).rejects.toMatchObject({ code: '28P01' })
    expect(statSync(join(dataDir, 'password')).mode & 0o077).toBe(0)
    expect(readFileSync(join(dataDir, 'postgres.log'), 'utf8')).not.toContain(
      readFileSync(join(dataDir, 'password'), 'utf8').trim(),
    )
  })

  test('a taken port is named, and nothing is left behind', async () => {
    const taken = net.createServer()
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as net.AddressInfo
    await expect(start(folder(), port)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`port ${port}`),
    })
    taken.close()
  })

  test('a folder that a running instance owns is refused with its pid', async () => {
    const dataDir = folder()
    const { child } = await runUntilFirstLine('test/db/embedded-child.ts', [dataDir])
    await expect(start(dataDir)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`pid ${child.pid}`),
    })
    child.kill('SIGKILL')
  })

  test.each(['node', 'wrapper', 'postmaster'] as const)(
    'kill -9 of %s leaves no process, and the next start works at once',
    async victim => {
      const dataDir = folder()
      const { child, line } = await runUntilFirstLine('test/db/embedded-child.ts', [dataDir])
      const { wrapper } = JSON.parse(line) as { wrapper: number }
      const postmaster = Number(readFileSync(join(dataDir, 'cluster/postmaster.pid'), 'utf8').split('\n')[0])
      expect(processesBelow(dataDir).length).toBeGreaterThan(4)
      process.kill({ node: child.pid!, wrapper, postmaster }[victim], 'SIGKILL')
      if (victim === 'node') {
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
        const server = await start(dataDir)
        expect(await ask(server, 'select 1 as n')).toEqual([{ n: 1 }])
      } else {
        await vi.waitFor(() => expect(processesBelow(join(dataDir, 'cluster'))).toEqual([]), 10_000)
        child.kill('SIGKILL')
      }
    },
  )

  test.runIf(process.getuid?.() === 0)('where root has no user namespaces it runs as nobody, from a copy', async () => {
    const dataDir = folder()
    chmodSync(join(dataDir, '..'), 0o755)
    const bin = join(dataDir, '../bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'unshare'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
    const path = process.env['PATH']
    process.env['PATH'] = `${bin}:${path}`
    try {
      const server = await start(dataDir)
      expect(await ask(server, 'select 1 as n')).toEqual([{ n: 1 }])
      expect(statSync(join(dataDir, 'cluster')).uid).not.toBe(0)
    } finally {
      process.env['PATH'] = path
    }
  })

  test('a server that cannot start says why', async () => {
    const options = { name: 'the embedded database', dataDir: folder(), port: 0, superuser: 'owner', durable: false }
    await expect(startEmbedded({ ...options, settings: { no_such_setting: 'x' } })).rejects.toThrow(/no_such_setting/)
  })
})
