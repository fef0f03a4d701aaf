import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sessions } from '../../../src/sessions/schema.ts'
import { run } from './sshd.ts'
import { createSshWorld, type Issued, type SshWorld, ssh, sshArguments } from './world.ts'

let world: SshWorld
let here: string // on this side
let there: string // on the server
const large = randomBytes(3_000_000)
const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const text = (path: string) => readFileSync(path, 'utf8')

beforeAll(async () => {
  world = await createSshWorld()
  here = join(world.world.folder, 'here')
  there = join(world.world.folder, 'there')
  for (const folder of [here, there]) mkdirSync(folder)
  writeFileSync(join(here, 'large'), large)
})
afterAll(() => world?.close())

/** `sftp` or `scp` with a ticket; `batch` is what sftp does. */
async function files(program: 'sftp' | 'scp', issued: Issued, args: readonly string[], batch = '') {
  const all = sshArguments(world.world, world.port, issued)
  const options = all.slice(0, -1).map(each => (each === '-p' ? '-P' : each))
  const more = program === 'sftp' ? ['-b', '-', ...args, '127.0.0.1'] : args
  return run(program, [...options, ...more], batch)
}

async function recorded(issued: Issued, kind: string) {
  const [session] = await world.world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id))
  const events: Record<string, unknown>[] = []
  for await (const event of world.world.reader.events(session!.id)) events.push(event as never)
  return { all: events, some: events.filter(event => event['kind'] === kind) }
}

const filesOf = async (issued: Issued, how_many: number) => {
  await expect.poll(async () => (await recorded(issued, 'file')).some.length, { timeout: 20_000 }).toBe(how_many)
  return (await recorded(issued, 'file')).some
}

describe('SFTP', () => {
  test('files go both ways whole, and the recording has path, direction, size and hash of each', async () => {
    const issued = await world.ticket()
    const batch = `put ${here}/large ${there}/up\nget ${there}/up ${here}/down\nrename ${there}/up ${there}/renamed\nls ${there}\n`
    const { code, err } = await files('sftp', issued, [], batch)
    expect([code, err]).toEqual([0, ''])
    expect(sha256(readFileSync(join(here, 'down')))).toBe(sha256(large))
    const hashed = { size: large.length, sha256: sha256(large), gaps: false, failed: false, complete: true }
    expect(await filesOf(issued, 2)).toMatchObject([
      { path: `${there}/up`, direction: 'upload', ...hashed },
      { path: `${there}/up`, direction: 'download', ...hashed },
    ])
    const { some } = await recorded(issued, 'statement')
    const asked = some.map(event => event['text'])
    expect(asked).toContain(`sftp upload ${there}/up`)
    expect(asked).toContain(`sftp posix-rename ${there}/up ${there}/renamed`)
  })

  test('what policy denies is answered as denied, in words, and the next request works', async () => {
    writeFileSync(join(there, 'report'), 'figures')
    const issued = await world.ticket('reader')
    const batch = `-rm ${there}/report\n-put ${here}/large ${there}/never\n-mkdir ${there}/folder\nget ${there}/report ${here}/report\n`
    const { code, err } = await files('sftp', issued, [], batch)
    expect(code).toBe(0)
    expect(err).toContain('Permission denied')
    expect(err).toMatch(/action\.ssh-reader \(action\/ssh\.rego:\d+@[0-9a-f]+\), decision dec_/)
    expect(err).toContain('ask for the role operator')
    expect([text(join(there, 'report')), text(join(here, 'report'))]).toEqual(['figures', 'figures'])
    expect([existsSync(join(there, 'never')), existsSync(join(there, 'folder'))]).toEqual([false, false])
    expect(await filesOf(issued, 1)).toMatchObject([{ path: `${there}/report`, direction: 'download', size: 7 }])
  })

  test('a server that is started as a command is judged as one, and its files too', async () => {
    writeFileSync(join(there, 'by-exec'), 'x')
    const reader = await files('sftp', await world.ticket('reader'), ['-s', '/usr/lib/openssh/sftp-server'], 'pwd\n')
    expect([reader.code, reader.err]).toEqual([255, expect.stringContaining('action.ssh-reader')])
    const issued = await world.ticket()
    const { code } = await files(
      'sftp',
      issued,
      ['-s', '/usr/lib/openssh/sftp-server'],
      `get ${there}/by-exec ${here}/`,
    )
    expect(code).toBe(0)
    expect(await filesOf(issued, 1)).toMatchObject([{ path: `${there}/by-exec`, sha256: sha256('x') }])
  })

  test('a relative path is judged and recorded from the login’s home on', async () => {
    const name = `sallyport-relative-${process.pid}`
    const issued = await world.ticket()
    const { code } = await files('scp', issued, [`${here}/large`, `127.0.0.1:${name}`])
    rmSync(join(homedir(), name), { force: true })
    expect(code).toBe(0)
    expect(await filesOf(issued, 1)).toMatchObject([{ path: join(homedir(), name), sha256: sha256(large) }])
  })

  test('bytes that are no SFTP close the channel in words', async () => {
    const { code, stderr } = await ssh(world.world, world.port, await world.ticket(), '-s', '--', 'sftp')
    expect(code).not.toBe(126) // an end at once is none of them
    expect(stderr).toBe('')
    const all = sshArguments(world.world, world.port, await world.ticket())
    const answer = await run('ssh', [...all.slice(0, -1), '-s', '127.0.0.1', 'sftp'], 'not a packet at all')
    expect([answer.code, answer.err]).toEqual([
      126,
      expect.stringContaining('sallyport: the channel is closed: a packet of'),
    ])
  })
})

describe('scp', () => {
  test.each([
    ['the old form', ['-O']],
    ['the new form', []],
  ])('%s copies both ways, and the recording has the hash', async (_name, options) => {
    const issued = await world.ticket()
    const name = `scp${options.length}`
    expect(await files('scp', issued, [...options, `${here}/large`, `127.0.0.1:${there}/${name}`])).toMatchObject({
      code: 0,
    })
    const again = await world.ticket()
    expect(await files('scp', again, [...options, `127.0.0.1:${there}/${name}`, `${here}/${name}`])).toMatchObject({
      code: 0,
    })
    expect(sha256(readFileSync(join(here, name)))).toBe(sha256(large))
    const hashed = {
      path: `${there}/${name}`,
      size: large.length,
      sha256: sha256(large),
      complete: true,
      failed: false,
    }
    expect(await filesOf(issued, 1)).toMatchObject([{ direction: 'upload', ...hashed }])
    expect(await filesOf(again, 1)).toMatchObject([{ direction: 'download', ...hashed }])
  })

  test('SS6: who only fetches files does not bring any, in either form', async () => {
    for (const options of [['-O'], []]) {
      const issued = await world.ticket('reader')
      const { code, err } = await files('scp', issued, [...options, `${here}/large`, `127.0.0.1:${there}/no`])
      expect([code === 0, err]).toEqual([false, expect.stringContaining('action.ssh-reader')])
      expect(existsSync(join(there, 'no'))).toBe(false)
    }
  })

  test('a whole folder goes over in the old form, each file told', async () => {
    mkdirSync(join(here, 'tree/deep'), { recursive: true })
    writeFileSync(join(here, 'tree/a'), 'a')
    writeFileSync(join(here, 'tree/deep/b'), '')
    const issued = await world.ticket()
    expect(await files('scp', issued, ['-O', '-r', '-p', `${here}/tree`, `127.0.0.1:${there}/`])).toMatchObject({
      code: 0,
    })
    expect(text(join(there, 'tree/a'))).toBe('a')
    const told = await filesOf(issued, 2)
    expect(told.map(({ path, size }) => [path, size]).sort()).toEqual([
      [`${there}/tree/a`, 1],
      [`${there}/tree/deep/b`, 0],
    ])
  })
})
