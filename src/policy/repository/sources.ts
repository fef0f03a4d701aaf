import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Problem, Refused } from '../problem.ts'

/** The files of a policy root that count, by path: modules and data. Whatever else lies there never reaches the compiler. */
export type Sources = ReadonlyMap<string, Buffer>

const maxFiles = 2000
const maxFileBytes = 8 << 20
const maxTotalBytes = 32 << 20
const maxPath = 256

/** Whether a file of a policy root takes part. Bundle manifests, signatures and compiled modules never do. */
export function takesPart(path: string): boolean {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return path === 'policy.yaml' || name.endsWith('.rego') || /^data\.(json|ya?ml)$/.test(name)
}

/** Collects sources and refuses what is too much or oddly named, before anything is written to a disk. */
export class SourceCollector {
  readonly #files = new Map<string, Buffer>()
  readonly #problems: Problem[] = []
  #bytes = 0

  /** @returns whether the file is wanted; its content may then be added. */
  wants(path: string, kind: 'file' | 'link' | 'module', size: number): boolean {
    if (kind === 'module')
      return this.#refuse(path, 'source_link', 'git submodules are not followed: copy the files into the repository')
    if (!takesPart(path)) return false
    if (kind === 'link')
      return this.#refuse(path, 'source_link', 'symbolic links are not followed: put the file itself here')
    if (!plainPath(path))
      return this.#refuse(
        path.slice(0, maxPath),
        'source_path',
        'the path has a part that is not allowed: use letters, digits, _ - and .',
      )
    if (size > maxFileBytes)
      return this.#refuse(path, 'source_size', `the file has ${size} bytes; ${maxFileBytes} are read`)
    this.#bytes += size
    if (this.#bytes > maxTotalBytes)
      return this.#refuse(path, 'source_size', `the files have more than ${maxTotalBytes} bytes together`)
    if (this.#files.size >= maxFiles) return this.#refuse(path, 'source_size', `there are more than ${maxFiles} files`)
    return true
  }

  add(path: string, content: Buffer): void {
    this.#files.set(path, content)
  }

  /** @throws Refused with everything that was wrong. */
  done(): Sources {
    if (this.#files.size === 0 && this.#problems.length === 0)
      this.#refuse('', 'source_empty', 'there is no policy here: no .rego file was found')
    if (this.#problems.length > 0) throw new Refused(this.#problems)
    return new Map([...this.#files].sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  #refuse(file: string, code: string, message: string): false {
    if (this.#problems.length < 50) this.#problems.push(file === '' ? { code, message } : { file, code, message })
    return false
  }
}

/** Reads a policy root of the file system, as `sallyport policy check` does. */
export function readFolder(root: string): Sources {
  const collector = new SourceCollector()
  const visit = (folder: string, depth: number): void => {
    if (depth > 8) return
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (entry.name === '.git' || entry.name === 'node_modules') continue
      if (entry.isDirectory()) visit(path, depth + 1)
      else if (collector.wants(path, entry.isSymbolicLink() ? 'link' : 'file', lstatSync(join(root, path)).size)) {
        collector.add(path, readFileSync(join(root, path)))
      }
    }
  }
  visit('', 0)
  return collector.done()
}

/** Writes sources below a folder of our own. */
export function writeSources(sources: Sources, root: string): void {
  for (const [path, content] of sources) {
    mkdirSync(dirname(join(root, path)), { recursive: true, mode: 0o700 })
    writeFileSync(join(root, path), content, { mode: 0o600, flag: 'wx' })
  }
}

function plainPath(path: string): boolean {
  return path.length <= maxPath && path.split('/').every(part => /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(part))
}
