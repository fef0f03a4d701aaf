// Compiles ssh2's ciphers where npm was not allowed to. Plain JavaScript with no dependency: it runs before the program.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '../..')
const addon = join(root, 'node_modules/ssh2/lib/protocol/crypto/build/Release/sshcrypto.node')
const stamp = join(root, 'node_modules/.sallyport-native')
const tools = ['gcc', 'make', 'python3']
const slow = 'SSH works, with ciphers that are not compiled: large copies take about twice as long'

/**
 * Everything works without; what is not there is said, never passed over.
 * @param {(line: string) => void} say
 * @returns {boolean} whether the compiled ciphers can be loaded
 */
export function ensureNative(say) {
  if (loads()) return true
  const missing = tools.filter(tool => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0)
  if (missing.length > 0) {
    say(`${slow}. To compile them, install ${missing.join(', ')} and start again.`)
    return false
  }
  if (tried() === process.version) {
    say(`${slow}. To try again: npm rebuild ssh2 --ignore-scripts=false`)
    return false
  }
  say('compiling the ciphers of ssh2')
  // Beside Node.js lie its headers, as a rule; without them node-gyp fetches them.
  const headers = resolve(dirname(process.execPath), '..')
  const nodedir = existsSync(join(headers, 'include/node/node.h')) ? { npm_config_nodedir: headers } : {}
  const made = spawnSync('npm', ['rebuild', 'ssh2', '--ignore-scripts=false', '--foreground-scripts'], {
    cwd: root,
    encoding: 'utf8',
    timeout: 180_000,
    env: { ...process.env, ...nodedir },
  })
  if (loads()) return true
  writeFileSync(stamp, process.version)
  const last = `${made.stdout ?? ''}${made.stderr ?? ''}`.trim().split('\n').slice(-3).join(' · ')
  say(`${slow}. They could not be compiled: ${last || String(made.error)}`)
  return false
}

function loads() {
  try {
    createRequire(import.meta.url)(addon)
    return true
  } catch {
    return false
  }
}

function tried() {
  return existsSync(stamp) ? readFileSync(stamp, 'utf8') : ''
}
