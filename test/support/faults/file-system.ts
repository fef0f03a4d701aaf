import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, sep } from 'node:path'
import { Faults } from './faults.ts'

type Call = (...args: unknown[]) => unknown
type Names = Record<string, Call>

/** Of `node:fs` and `node:fs/promises`: what each call changes. Reading is no step. */
const byPath = ['mkdir', 'rename', 'unlink', 'rm', 'rmdir', 'truncate', 'link', 'copyFile', 'writeFile', 'appendFile']
const byHandle = ['write', 'writev', 'writeFile', 'appendFile', 'sync', 'datasync', 'truncate']
const byDescriptor = ['write', 'fsync', 'fdatasync', 'ftruncate']

/** FileHandle has no name of its own: the prototype of any of them is everybody's. */
const handle = await fs.promises.open('/dev/null', 'r')
const handles = Object.getPrototypeOf(handle) as Names
await handle.close()
let patched = false

/** From now on each change of a file is a step of whoever `who` names. In this process, once, for good: without one nothing differs. */
export function patchFileSystem(who: () => Faults | undefined): void {
  if (patched) return
  patched = true
  const sync = fs as unknown as Names
  const promises = fs.promises as unknown as Names
  for (const name of byPath) {
    patch(sync, `${name}Sync`, path => path, who)
    patch(promises, name, path => path, who)
  }
  for (const name of byDescriptor) {
    patch(sync, `${name}Sync`, fd => pathOf(fd), who)
    patch(sync, name, fd => pathOf(fd), who)
  }
  for (const name of ['rename', 'unlink']) patch(sync, name, path => path, who)
  patch(sync, 'openSync', path => path, who)
  patch(promises, 'open', path => path, who)
  for (const name of byHandle)
    patch(
      handles,
      name,
      function (this: { fd: number }) {
        return pathOf(this.fd)
      },
      who,
    )
  syncBuiltinESMExports()
}

function patch(
  target: Names,
  name: string,
  pathFrom: (this: never, first: unknown) => unknown,
  who: () => Faults | undefined,
): void {
  const original = target[name]
  if (original === undefined) return
  target[name] = function (this: never, ...args: unknown[]): unknown {
    const faults = who()
    const path = faults?.root === undefined ? undefined : pathFrom.call(this, args[0])
    if (faults === undefined || typeof path !== 'string' || !below(path, faults.root!))
      return original.apply(this, args)
    const plain = name.replace(/Sync$/, '')
    if (plain === 'open' && !writes(args[1])) return Faults.outside(() => original.apply(this, args))
    const made = makes.has(plain) ? String(plain === 'copyFile' || plain === 'link' ? args[1] : path) : undefined
    const isNew = made !== undefined && !fs.existsSync(made)
    const run = () =>
      Faults.outside(() => {
        const synced = /sync$/.test(plain) ? faults.syncing(path) : undefined
        return watched(original, this, args, () => {
          if (isNew) faults.made(made)
          synced?.()
        })
      })
    const half = halfOf(original, this, args, plain)
    return stepOf(faults, `${plain} ${basename(path)}`, run, half, args)
  }
}

/** A callback gets its error by the callback, everybody else as it is thrown. */
function stepOf(
  faults: Faults,
  what: string,
  run: () => unknown,
  half: (() => void) | undefined,
  args: unknown[],
): unknown {
  const callback = args.at(-1)
  if (typeof callback !== 'function') return faults.step(what, run, half)
  try {
    return faults.step(what, run, half)
  } catch (error) {
    setImmediate(callback as Call, error)
    return undefined
  }
}

function watched(original: Call, self: unknown, args: unknown[], after: () => void): unknown {
  const callback = args.at(-1)
  if (typeof callback === 'function') {
    const answered = (error: unknown, ...rest: unknown[]) => {
      if (error === null || error === undefined) after()
      ;(callback as Call)(error, ...rest)
    }
    return original.apply(self, [...args.slice(0, -1), answered])
  }
  const result = original.apply(self, args)
  if (result instanceof Promise)
    return result.then(value => {
      after()
      return value
    })
  after()
  return result
}

const makes = new Set(['open', 'mkdir', 'writeFile', 'appendFile', 'copyFile', 'link'])

/** Half of the bytes of a write; undefined for what is no write. What it does is at once, also where the call is not. */
function halfOf(original: Call, self: unknown, args: unknown[], name: string): (() => void) | undefined {
  if (name === 'write' && typeof args[0] === 'number' && Buffer.isBuffer(args[1])) {
    const offset = (args[2] as number | undefined) ?? 0
    const length = (args[3] as number | undefined) ?? args[1].length - offset
    return () => void Faults.outside(() => fs.writeSync(args[0] as number, args[1] as Buffer, offset, length >> 1))
  }
  const handle = self as { fd?: unknown } | undefined
  if ((name === 'write' || name === 'writeFile' || name === 'appendFile') && typeof handle?.fd === 'number') {
    const bytes = bytesOf(args[0])
    return () => void Faults.outside(() => fs.writeSync(handle.fd as number, bytes.subarray(0, bytes.length >> 1)))
  }
  if (name === 'writeFile' || name === 'appendFile') {
    const bytes = bytesOf(args[1])
    const flag = name === 'writeFile' ? ((args[2] as { flag?: string } | undefined)?.flag ?? 'w') : 'a'
    void original
    return () =>
      Faults.outside(() => fs.writeFileSync(args[0] as string, bytes.subarray(0, bytes.length >> 1), { flag }))
  }
  return undefined
}

const bytesOf = (given: unknown): Buffer =>
  given instanceof Uint8Array
    ? Buffer.from(given.buffer, given.byteOffset, given.byteLength)
    : Buffer.from(String(given))

function writes(flags: unknown): boolean {
  if (typeof flags === 'number')
    return (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT)) !== 0
  return flags !== undefined && flags !== 'r' && flags !== 'rs'
}

function below(path: string, root: string): boolean {
  return path === root || path.startsWith(root + sep)
}

function pathOf(fd: unknown): string | undefined {
  try {
    return fs.readlinkSync(`/proc/self/fd/${String(fd)}`).replace(/ \(deleted\)$/, '')
  } catch {
    return undefined
  }
}
