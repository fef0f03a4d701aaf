import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { foundBelow } from '../support/canaries.ts'
import { SshClients } from '../support/ssh.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** Issue to revocation with the programs that people have: ssh, scp, sftp, rsync, ansible, and what an editor does. */
let world: TestWorld
let erin: SshClients
let grant: string
let folder: string

beforeAll(async () => {
  world = await startWorld()
  grant = (await world.grant(world.person.erin, { resource: 'web-1', role: 'operator' })).grant!.id
  erin = await SshClients.of(world.person.erin)
  folder = mkdtempSync(join(world.folder, 'files-'))
})
afterAll(() => world?.stop())

const ok = { code: 0, stderr: '' }
const ticketsOf = async (sub: string) =>
  world.owner<{ id: string }[]>`
    select t.id from tickets t join subjects s on s.id = t.subject_id
    where t.resource = 'web-1' and s.email like ${`${sub}@%`} order by t.created_at`

describe('from one command', () => {
  test('`connect` and `ssh` run a command with its exit code, and leave no file', async () => {
    const { erin: person } = world.person
    expect(await person.cli('connect', 'web-1', '--', 'echo', 'connected')).toMatchObject({
      ...ok,
      stdout: 'connected\n',
    })
    expect(await person.cli('ssh', 'web-1', '--role', 'operator', '--', 'echo out; exit 7')).toMatchObject({
      code: 7,
      stdout: 'out\n',
    })
    expect(readdirSync(join(person.home, 'sallyport/tickets'))).toEqual([])
    const wrong = await person.cli('ssh', 'shop-db')
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining("no server 'shop-db'") })
    expect(wrong.stderr).toContain('those are: forge, web-1')
  })

  test('`ssh harden` prints what makes a target trust the gateways', async () => {
    const { stdout } = await world.person.erin.cli('ssh', 'harden', 'deploy')
    const trusted = readFileSync(join(world.dev.dataDir, 'web/ca.pub'), 'utf8').split(' ').slice(0, 2).join(' ')
    expect(stdout).toContain(trusted)
    expect(stdout).toMatch(/^TrustedUserCAKeys \/etc\/ssh\/sallyport_ca\.pub$/m)
    expect(stdout).toMatch(/^Match User deploy$/m)
  })
})

describe('plain clients, after `sallyport ssh-config`', () => {
  test('it offers one line, says the host key, and writes no ticket and no secret', async () => {
    const { stdout } = await world.person.erin.cli('ssh-config', '--print')
    expect(stdout).toMatch(/^Match originalhost web-1\.operator exec ".*\/ssh\/default\/ticket web-1 operator"$/m)
    expect(stdout).toMatch(/^# known_hosts: \[127\.0\.0\.1\]:\d+ ssh-ed25519 \S+$/m)
    expect(readFileSync(erin.config, 'utf8')).toMatch(/^Include ".*\/sallyport\/ssh\/default\/config"\n$/)
    expect((await world.person.erin.cli('ssh-config', '--install', erin.config)).stdout).toContain('already')
  })

  test('five at once share one ticket, and so do the next ones; it is a new one when that opens nothing more', async () => {
    const before = (await ticketsOf('erin')).length
    const said = await Promise.all(Array.from({ length: 5 }, () => erin.run('ssh', 'web-1', 'echo in')))
    expect(said).toEqual(Array(5).fill({ ...ok, stdout: 'in\n' }))
    expect(await erin.run('ssh', 'web-1', 'exit 3')).toMatchObject({ code: 3, stderr: '' })
    const [ticket] = (await ticketsOf('erin')).slice(before)
    expect(await ticketsOf('erin')).toHaveLength(before + 1)
    const { id } = await world.sessionOf(ticket!.id)
    expect((await world.person.erin.cli('end', id, '-m', 'enough')).code).toBe(0)
    // Until the next look, ssh goes on with what it had, and reads from the gateway that this opens nothing.
    await world.until(async () =>
      expect(await erin.run('ssh', '-o', 'BatchMode=yes', 'web-1', 'echo again')).toMatchObject({
        ...ok,
        stdout: 'again\n',
      }),
    )
    expect(await ticketsOf('erin')).toHaveLength(before + 2)
  })

  test('a role of several has a name of its own; one that was not granted is refused in ssh’s own output', async () => {
    expect(await erin.run('ssh', 'web-1.operator', 'echo as operator')).toMatchObject({
      ...ok,
      stdout: 'as operator\n',
    })
    const { code, stderr } = await erin.run('ssh', 'web-1.reader', 'uptime')
    expect(code).toBe(255)
    expect(stderr).toMatch(/^sallyport: .+\n/)
    expect(stderr).toContain('sallyport connect web-1 --role reader --reason')
  })

  test('scp, the new way and the old one, both directions', async () => {
    const [from, to] = [join(folder, 'from'), join(folder, 'to')]
    writeFileSync(from, Buffer.alloc(300_000, 'sallyport '))
    for (const old of [[], ['-O']]) {
      expect(await erin.run('scp', '-q', ...old, from, `web-1:${to}`)).toMatchObject(ok)
      expect(readFileSync(to).equals(readFileSync(from))).toBe(true)
      expect(await erin.run('scp', '-q', ...old, `web-1:${to}`, `${from}.back`)).toMatchObject(ok)
      expect(readFileSync(`${from}.back`).equals(readFileSync(from))).toBe(true)
    }
  })

  test('sftp with a batch', async () => {
    const place = join(folder, 'sftp')
    writeFileSync(join(folder, 'put'), 'by sftp\n')
    const batch = `mkdir ${place}\nput ${folder}/put ${place}/one\nrename ${place}/one ${place}/two\nls -1 ${place}\nget ${place}/two ${folder}/got\n`
    const { code, stdout, stderr } = await erin.fed(batch, 'sftp', '-b', '-', 'web-1')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`${place}/two`)
    expect(readFileSync(join(folder, 'got'), 'utf8')).toBe('by sftp\n')
  })

  test('rsync brings a tree over and sends only what changed', async () => {
    const [tree, copy] = [join(folder, 'tree/'), join(folder, 'copy')]
    mkdirSync(join(tree, 'deep'), { recursive: true })
    for (const name of ['a', 'b', 'deep/c']) writeFileSync(join(tree, name), `${name}\n`.repeat(1000))
    expect(await erin.run('rsync', '-a', tree, `web-1:${copy}`)).toMatchObject(ok)
    expect(readFileSync(join(copy, 'deep/c'), 'utf8')).toBe('deep/c\n'.repeat(1000))
    writeFileSync(join(tree, 'b'), 'new\n')
    const again = await erin.run('rsync', '-a', '--itemize-changes', tree, `web-1:${copy}`)
    expect(again.stdout).toMatch(/^<f\S+ b\n$/m)
    expect(again.stdout).not.toContain('deep/c')
  })

  test('a play of ansible', async () => {
    const [inventory, play, made] = [join(folder, 'hosts.ini'), join(folder, 'play.yaml'), join(folder, 'by-ansible')]
    writeFileSync(inventory, 'web-1 ansible_python_interpreter=/usr/bin/python3\n')
    writeFileSync(
      play,
      `- hosts: web-1
  gather_facts: false
  tasks:
    - ansible.builtin.copy: { content: "Linux\\n", dest: ${made} }
    - ansible.builtin.command: cat ${made}
      register: seen
      changed_when: false
    - ansible.builtin.assert: { that: seen.stdout == 'Linux' }
`,
    )
    const { code, stdout, stderr } = await erin.run('ansible-playbook', '-i', inventory, play)
    expect({ code, stderr, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/ok=3 +changed=1/) })
    expect(readFileSync(made, 'utf8')).toBe('Linux\n')
  })

  test('an editor’s bootstrap: a long script on the standard input of bash, then a program that talks both ways', async () => {
    const script = `set -eu\n${'# a line of a long script\n'.repeat(20_000)}mkdir -p ${folder}/server\necho "platform==$(uname -s)"\necho ready >&2\n`
    const first = await erin.fed(script, 'ssh', '-T', 'web-1', 'bash', '-s')
    expect(first).toMatchObject({ code: 0, stdout: 'platform==Linux\n', stderr: 'ready\n' })
    const server = erin.start('ssh', '-T', 'web-1', `cd ${folder}/server && exec cat`)
    for (const message of ['{"id":1}', '{"id":2}']) {
      server.write(`${message}\n`)
      await server.says(new RegExp(message.replaceAll(/[{}]/g, '\\$&')))
    }
    server.child.stdin.end()
    expect((await server.ended).code).toBe(0)
  })

  test('a master with several channels, each decided by itself', async () => {
    const socket = join(folder, 'mux')
    const master = erin.start('ssh', '-M', '-S', socket, 'web-1', 'echo up; cat')
    await master.says(/up/)
    const through = (...words: string[]) => erin.run('ssh', '-S', socket, 'web-1', ...words)
    const all = await Promise.all(['one', 'two', 'three'].map(word => through('echo', word)))
    expect(all.map(each => each.stdout)).toEqual(['one\n', 'two\n', 'three\n'])
    const denied = await through('sudo', 'id')
    expect(denied.code).toBe(126)
    expect(denied.stderr).toMatch(/refused by policy: sudo .+action\.ssh-become \(action\/ssh\.rego:\d+@\w+\)/s)
    master.child.stdin.end()
    expect((await master.ended).code).toBe(0)
  })
})

describe('what was done', () => {
  test('is followed live and replayed, as text and as an asciicast', async () => {
    const { ava } = world.person
    await ava.login()
    const shell = world.person.erin.start('ssh', 'web-1', '--', '-tt')
    shell.write('PS1=; echo seen-$((40+2))\n')
    await shell.says(/seen-42/)
    const [ticket] = (await ticketsOf('erin')).slice(-1)
    const { id } = await world.sessionOf(ticket!.id)
    const tail = ava.start('tail', id, '--text')
    await tail.says(/seen-42/)
    shell.write('exit 5\n')
    expect((await shell.ended).code).toBe(5)
    tail.kill()
    await world.until(async () => {
      const text = await ava.cli('replay', id, '--text')
      expect(text).toMatchObject({ code: 0, stdout: expect.stringContaining('seen-42') })
    })
    const cast = await ava.cli('replay', id, '--asciicast')
    expect({ code: cast.code, stderr: cast.stderr }).toEqual({ code: 0, stderr: '' })
    const [head, ...events] = cast.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as never)
    expect(head).toMatchObject({ version: 2 })
    expect(events.map(event => event[2]).join('')).toContain('seen-42')
  })

  test('ends with the grant: a running command is told who ended it and why, and the next ssh is refused', async () => {
    const running = erin.start('ssh', 'web-1', 'echo started; sleep 60; echo never')
    await running.says(/started/)
    const answer = await world.person.sam.post(`/api/grants/${grant}/revoke`, { reason: 'the incident is over' })
    expect(answer.status).toBe(200)
    const { code, stdout, stderr } = await running.ended
    expect(code).not.toBe(0)
    expect(stdout).toBe('started\n')
    expect(stderr).toContain('the incident is over')
    await world.until(async () => {
      const late = await erin.run('ssh', '-o', 'BatchMode=yes', 'web-1', 'echo late')
      expect(late).toMatchObject({ code: 255, stdout: '', stderr: expect.stringMatching(/^sallyport: /) })
    }, 60_000)
  })
})

describe('LC4: afterwards nothing lies around', () => {
  test('no secret of a person or of a ticket stands in the logs, in what is stored, or in the copy of the audit log', async () => {
    const { erin: person } = world.person
    await world.grant(person, { resource: 'web-1', role: 'operator', reason: 'secrets' })
    const secrets = { typed: 'CANARYt7Qxw', variable: 'CANARYv5Lwq', guessed: 'CANARYg3Vzk' }
    const given = [
      '-o',
      `SetEnv=LC_CANARY=${secrets.variable}`,
      'web-1.operator',
      'read -r x; echo "$x$LC_CANARY" | wc -c',
    ]
    expect(await erin.fed(`${secrets.typed}\n`, 'ssh', ...given)).toMatchObject({ ...ok, stdout: '23\n' })
    const { stdout } = await person.cli('connect', 'web-1', '--role', 'operator', '--print')
    const said = (label: string) => new RegExp(`^${label} +(\\S+)$`, 'm').exec(stdout)?.[1] ?? ''
    const key = readFileSync(said('key'), 'utf8').split('\n')[3]!
    const known = { ...secrets, password: said('password'), key }
    for (const value of Object.values(known)) expect(value.length).toBeGreaterThan(10)
    for (const password of [secrets.guessed, known.password]) await byPassword(said('user'), password)
    const session = await world.sessionOf(said('user'))
    await person.post(`/api/sessions/${session.id}/end`, { reason: 'enough' })
    await world.until(async () => expect((await world.sessionOf(said('user'))).ended_at).not.toBeNull())
    for (const place of ['logs', 'data', 'audit-copy'])
      expect(foundBelow(join(world.dev.dataDir, place), known)).toEqual([])
  })
})

/** One command, by a client that shows a password; nothing where that opens nothing. */
function byPassword(username: string, password: string): Promise<void> {
  const client = new ssh2.Client()
  return new Promise<void>(resolve => {
    client.on('error', () => {}).on('close', () => resolve())
    client.on('ready', () =>
      client.exec('true', (_error, channel) => channel?.resume().on('close', () => client.end())),
    )
    client.connect({ host: '127.0.0.1', port: world.dev.ports.ssh, username, password, hostVerifier: () => true })
  })
}
