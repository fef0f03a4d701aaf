import { spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { basename, join } from 'node:path'

/** Git's sources of the version that is installed here, with what its scripts need of a build. */
export interface GitSource {
  /** As Debian numbers it. */
  readonly version: string
  readonly folder: string
}

/** Fetched with the machine's own apt, where the packages come from as well, and built once. */
export async function bringGit(tell: (line: string) => void): Promise<GitSource> {
  const told = spawnSync('dpkg-query', ['-s', 'git'], { encoding: 'utf8' }).stdout ?? ''
  const version = /^Version: (\S+)$/m.exec(told)?.[1]
  if (version === undefined)
    throw new Error('git is not installed from a Debian package here, so its sources are not known')
  const kept = join(
    homedir(),
    '.cache/sallyport/conformance',
    `git-source-${version.replace(/[^0-9A-Za-z.+~-]/g, '_')}`,
  )
  const folder = join(kept, 'git')
  if (existsSync(join(kept, 'built'))) return { version, folder }
  rmSync(kept, { recursive: true, force: true })
  mkdirSync(kept, { recursive: true })
  tell(`fetching the sources of git ${version}`)
  const unpacked = await fetchSource(version)
  renameSync(unpacked, folder)
  tell('building what its scripts need')
  // Its own programs are the installed ones: this makes its test programs and the files that its scripts read.
  const without = ['NO_CURL=1', 'NO_EXPAT=1', 'NO_GETTEXT=1', 'NO_TCLTK=1', 'NO_PYTHON=1']
  const made = ['GIT-BUILD-OPTIONS', 't/helper/test-tool', 't/helper/test-fake-ssh']
  await ended('make', ['-s', '-j2', 'CFLAGS=-O1', ...without, ...made], folder)
  await ended('make', ['-s', '-C', 'templates', 'SHELL_PATH=/bin/sh', 'PERL_PATH=/usr/bin/perl'], folder)
  writeFileSync(join(kept, 'built'), '')
  return { version, folder }
}

/** A list of sources of our own: what the machine's apt is told, with the sources of the same places. */
async function fetchSource(version: string): Promise<string> {
  const place = mkdtempSync(join(tmpdir(), 'sallyport-git-source-'))
  for (const each of ['parts', 'lists/partial', 'cache/archives/partial'])
    mkdirSync(join(place, each), { recursive: true })
  const system = '/etc/apt'
  const lists = [join(system, 'sources.list')]
  const parts = join(system, 'sources.list.d')
  if (existsSync(parts)) lists.push(...readdirSync(parts).map(name => join(parts, name)))
  for (const list of lists.filter(each => existsSync(each) && /\.(?:list|sources)$/.test(each))) {
    const text = readFileSync(list, 'utf8')
    // Others than Debian's own have no sources of git, and often none at all.
    if (!/debian/i.test(text)) continue
    const sources = text.replaceAll(/^deb(?=[ \t])/gm, 'deb-src').replaceAll(/^Types:.*$/gm, 'Types: deb-src')
    writeFileSync(join(place, 'parts', basename(list)), sources)
  }
  const options = [
    'Dir::Etc::sourcelist=/dev/null',
    `Dir::Etc::sourceparts=${join(place, 'parts')}`,
    `Dir::State::lists=${join(place, 'lists')}`,
    `Dir::Cache=${join(place, 'cache')}`,
    'APT::Sandbox::User=root',
  ].flatMap(each => ['-o', each])
  await ended('apt-get', [...options, '-qq', 'update'], place)
  await ended('apt-get', [...options, '-qq', 'source', `git=${version}`], place)
  const found = readdirSync(place).find(name => existsSync(join(place, name, 't/test-lib.sh')))
  if (found === undefined) throw new Error('apt brought no sources of git')
  return join(place, found)
}

function ended(program: string, args: readonly string[], cwd: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (said = (said + chunk).slice(-2000)))
    child.once('error', reject)
    child.once('close', code =>
      code === 0 ? resolve() : reject(new Error(`${program} ${args.join(' ')} ended with ${code}: ${said}`)),
    )
  })
}
