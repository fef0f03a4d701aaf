import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** The folder of the package, from `src` as well as from `dist`: the nearest one above this file with both of these. */
export function packageRoot(): string {
  for (let folder: string = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) && existsSync(join(folder, 'migrations'))) return folder
  }
  return resolve(import.meta.dirname, '../..')
}

/** As `package.json` says it. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string }).version
}
