import { spawnSync } from 'node:child_process'

/** A Python that has these modules: Debian's own before one that comes first on the path. */
export function pythonWith(modules: readonly string[]): string {
  const wanted = `import ${modules.join(', ')}`
  const works = (python: string) => spawnSync(python, ['-c', wanted], { stdio: 'ignore' }).status === 0
  const found = ['/usr/bin/python3', 'python3'].find(works)
  if (found === undefined) throw new Error(`no Python has ${modules.join(', ')}`)
  return found
}
