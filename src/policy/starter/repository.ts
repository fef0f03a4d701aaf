import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../db/package-root.ts'
import { type ProtocolOptions, policySchemas } from '../json-schemas.ts'

/** Where the files of this folder stand in a new repository. */
const setup: Readonly<Record<string, string>> = {
  editorconfig: '.editorconfig',
  'github-workflow.yml': '.github/workflows/policy.yml',
  'gitlab-ci.yml': '.gitlab-ci.yml',
  'regal.yaml': '.regal/config.yaml',
  'vscode-extensions.json': '.vscode/extensions.json',
  'vscode-settings.json': '.vscode/settings.json',
  'vscode-tasks.json': '.vscode/tasks.json',
}

/** The files of a new policy repository by path: starter policies with their tests, schemas, editor and pipeline. */
export function newRepository(protocols: readonly ProtocolOptions[]): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  const starter = join(packageRoot(), 'policies')
  for (const entry of readdirSync(starter, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    files.set(path.slice(starter.length + 1).replaceAll('\\', '/'), readFileSync(path))
  }
  for (const [name, schema] of Object.entries(policySchemas(protocols)))
    files.set(`schemas/${name}.json`, Buffer.from(`${JSON.stringify(schema, null, 2)}\n`))
  for (const [name, path] of Object.entries(setup)) files.set(path, readFileSync(join(import.meta.dirname, name)))
  return files
}
