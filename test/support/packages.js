// What the journeys need besides npm's packages: real clients and servers of Debian, installed where that is possible.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Command → the Debian package that brings it. */
const needed = {
  psql: 'postgresql-client',
  pgbouncer: 'pgbouncer',
  pgbench: 'postgresql',
  chromium: 'chromium',
  git: 'git',
  gitolite: 'gitolite3',
  ps: 'procps',
  ssh: 'openssh-client',
  'ssh-keygen': 'openssh-client',
  gpg: 'gpg',
  'gpg-agent': 'gpg-agent',
  sshd: 'openssh-server',
  sftp: 'openssh-client',
  rsync: 'rsync',
  age: 'age',
  'ansible-playbook': 'ansible-core',
}

/** Python module → the Debian package that brings it, for the second reader of recordings. */
const modules = { cryptography: 'python3-cryptography', brotli: 'python3-brotli', msgpack: 'python3-msgpack' }

function hasModules() {
  const wanted = `import ${Object.keys(modules).join(', ')}`
  return ['/usr/bin/python3', 'python3'].some(
    python => spawnSync(python, ['-c', wanted], { stdio: 'ignore' }).status === 0,
  )
}

const folders = [
  ...(process.env.PATH ?? '').split(delimiter),
  '/usr/sbin',
  '/usr/lib/postgresql/17/bin',
  '/usr/lib/postgresql/15/bin',
]

function has(command) {
  return folders.some(folder => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** @throws an Error that names what is missing and how to get it */
export function ensurePackages(say) {
  const missing = () => [
    ...Object.keys(needed).filter(command => !has(command)),
    ...(hasModules() ? [] : Object.keys(modules)),
  ]
  const first = missing()
  if (first.length === 0) return
  const packages = [...new Set(first.map(name => needed[name] ?? modules[name]))]
  if (existsSync('/usr/bin/apt-get')) {
    const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n']
    const apt = (...args) => {
      const [program, ...rest] = [...asRoot, 'apt-get', ...args]
      return (
        spawnSync(program, rest, { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
          .status === 0
      )
    }
    say(`installing ${packages.join(', ')}`)
    if (!apt('install', '-y', '--no-install-recommends', ...packages)) {
      apt('update')
      apt('install', '-y', '--no-install-recommends', ...packages)
    }
  }
  const still = missing()
  if (still.length === 0) return
  throw new Error(
    `the tests need ${still.join(', ')}, which this machine does not have and which could not be installed.\n` +
      `On Debian: apt-get install ${[...new Set(still.map(name => needed[name] ?? modules[name]))].join(' ')}`,
  )
}
