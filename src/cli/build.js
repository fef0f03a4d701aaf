// Builds dist/ when sources changed. Plain JavaScript with no dependency: it runs before anything is built.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

export const root = resolve(import.meta.dirname, '../..')
const dist = join(root, 'dist')
const lock = join(root, 'node_modules/.sallyport-build')

/**
 * Builds the program (tsc), the verifier that goes with evidence and the web page (vite), each only when what it is made
 * from changed.
 * @param {(line: string) => void} progress told before something that takes long
 * @throws an Error with the compiler's own words when the sources are wrong
 */
export async function build(progress = () => {}) {
  needModules()
  await holding(() => {
    program(progress)
    verifier(progress)
    web(progress)
  })
}

function program(progress) {
  // What starts the program before it is built runs from src.
  const sources = filesBelow(join(root, 'src')).filter(
    path => !below(path, 'src/web') && !/\.(md|tsx)$|(cli|evidence)\/[^/]+\.js$/.test(path),
  )
  const stamp = stampOf([...sources, join(root, 'tsconfig.json'), join(root, 'package.json')])
  const old = readStamp('program')
  if (old.hash === stamp.hash && existsSync(join(dist, 'cli/main.js'))) return
  progress('building the program')
  // A source that is gone must not live on in dist.
  const gone = (old.files ?? []).filter(file => !stamp.files.includes(file))
  if (gone.length > 0)
    for (const name of namesIn(dist))
      if (name !== 'web' && name !== 'verifier') rmSync(join(dist, name), { recursive: true, force: true })
  // The compiler's own notes would keep it from writing again what was deleted by hand.
  if (!existsSync(join(dist, 'cli/main.js'))) rmSync(join(dist, '.tsbuildinfo'), { force: true })
  run('the TypeScript compiler', [
    join(root, 'node_modules/typescript/bin/tsc'),
    '-p',
    join(root, 'tsconfig.json'),
    '--pretty',
    'false',
  ])
  for (const path of sources.filter(path => !path.endsWith('.ts'))) {
    const to = join(dist, relative(join(root, 'src'), path))
    mkdirSync(dirname(to), { recursive: true })
    copyFileSync(path, to)
  }
  writeStamp('program', stamp)
}

/** One file that needs Node.js alone, from the same sources. */
function verifier(progress) {
  const made = join(dist, 'verifier/verify.mjs')
  const config = join(root, 'src/evidence/verify-script.config.js')
  if (!existsSync(config)) return
  const stamp = { ...readStamp('program'), files: [] }
  if (readStamp('verifier').hash === stamp.hash && existsSync(made)) return
  progress('building the verifier')
  run('vite', [join(root, 'node_modules/vite/bin/vite.js'), 'build', '--config', config])
  writeStamp('verifier', stamp)
}

function web(progress) {
  const page = join(root, 'src/web')
  if (!existsSync(join(page, 'index.html'))) return
  const stamp = stampOf([...filesBelow(page), join(root, 'vite.config.ts'), join(root, 'package.json')])
  if (readStamp('web').hash === stamp.hash && existsSync(join(dist, 'web/index.html'))) return
  progress('building the web page')
  run('vite', [join(root, 'node_modules/vite/bin/vite.js'), 'build'])
  writeStamp('web', stamp)
}

function run(what, argv) {
  if (!existsSync(argv[0])) throw new Error(`${what} is not installed: run \`npm ci\` without --omit=dev`)
  const made = spawnSync(process.execPath, argv, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NODE_ENV: 'production', FORCE_COLOR: '0' },
  })
  if (made.status === 0) return
  throw new Error(
    `${what} refused the sources:\n${`${made.stdout ?? ''}${made.stderr ?? ''}`.trim() || String(made.error ?? made.signal)}`,
  )
}

function needModules() {
  if (!existsSync(join(root, 'node_modules')))
    throw new Error(`nothing is installed in ${root}: run \`npm ci\` there first`)
}

// Two commands started at once build once. The file appears whole, with its holder's pid, or not at all; a holder that is
// gone is moved aside.
async function holding(work) {
  const own = `${lock}.${process.pid}`
  writeFileSync(own, String(process.pid))
  try {
    while (!taken(own)) {
      if (lives(Number(readText(lock)))) await new Promise(done => setTimeout(done, 100))
      else rmSync(lock, { force: true })
    }
    try {
      work()
    } finally {
      rmSync(lock, { force: true })
    }
  } finally {
    rmSync(own, { force: true })
  }
}

function taken(own) {
  try {
    linkSync(own, lock)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

function lives(pid) {
  try {
    process.kill(pid, 0)
    return pid > 0
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function stampOf(paths) {
  const hash = createHash('sha256')
  for (const path of paths.sort())
    hash.update(relative(root, path)).update('\0').update(readFileSync(path)).update('\0')
  return { hash: hash.digest('hex'), files: paths.map(path => relative(root, path)) }
}

const stampFile = name => join(dist, `.${name}.stamp`)

function readStamp(name) {
  try {
    return JSON.parse(readText(stampFile(name)))
  } catch {
    return {}
  }
}

function writeStamp(name, stamp) {
  mkdirSync(dist, { recursive: true })
  writeFileSync(stampFile(name), JSON.stringify(stamp))
}

function readText(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

function filesBelow(folder) {
  return readdirSync(folder).flatMap(name => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? filesBelow(path) : [path]
  })
}

const namesIn = folder => (existsSync(folder) ? readdirSync(folder) : [])
const below = (path, folder) => !relative(join(root, folder), path).startsWith('..')

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await build(line => console.log(line))
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
