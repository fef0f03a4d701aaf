// Starts programs for a gateway: a process that holds next to nothing, for starting one copies the page tables of whoever
// starts it. Plain JavaScript with no dependency: it runs before, and without, anything that is built.
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'

/** One more end of this pipe is the gateway's: it closes with it. Every program gets it. */
const leash = 4

/** @type {Map<number, number>} the process groups of the runs */
const groups = new Map()

/**
 * @typedef {object} Run
 * @property {number} run
 * @property {[string, ...string[]]} command
 * @property {string} cwd
 * @property {Record<string, string>} env
 * @property {(number | null | { path: string, flags: 'r' | 'w' })[]} stdio what the program gets as its descriptors 0, 1, …;
 *   the leash comes behind them. A number is a descriptor of this process, which nobody else uses.
 */
process.on('message', (/** @type {Run | { kill: number }} */ asked) => {
  if (!('kill' in asked)) return start(asked)
  endGroup(asked.kill)
  process.send?.({ killed: asked.kill })
})

process.on('disconnect', () => {
  for (const run of groups.keys()) endGroup(run)
  process.exit()
})

/** @param {Run} asked */
function start({ run, command: [program, ...args], cwd, env, stdio }) {
  const over = (/** @type {object} */ how) => process.send?.({ run, ...how })
  const opened = []
  try {
    const given = stdio.map(each => {
      if (each === null) return 'ignore'
      if (typeof each === 'object') return openSync(each.path, each.flags, 0o600)
      return each
    })
    opened.push(...given.filter(each => typeof each === 'number'))
    const child = spawn(program, args, { cwd, env, detached: true, stdio: [...given, leash] })
    if (child.pid !== undefined) groups.set(run, child.pid)
    child.once('error', error => child.pid === undefined && over({ status: null, why: error.message }))
    // What it started may hold its pipes open for longer than it lives.
    child.once('exit', status => {
      endGroup(run)
      groups.delete(run)
      over({ status })
    })
  } catch (error) {
    over({ status: null, why: error instanceof Error ? error.message : String(error) })
  } finally {
    const pipes = stdio.filter(each => typeof each === 'number')
    for (const each of new Set([...pipes, ...opened])) closeSync(each)
  }
}

/** @param {number} run */
function endGroup(run) {
  const group = groups.get(run)
  if (group === undefined) return
  try {
    process.kill(-group, 'SIGKILL')
  } catch {
    // it is gone already
  }
}
