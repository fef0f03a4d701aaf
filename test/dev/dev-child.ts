// Run by process-tree.test.ts: the development system with a stand-in for the roles, in the data folder of the environment.
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { dev } from '../../src/dev/main.ts'

const loader = pathToFileURL(resolve(import.meta.dirname, '../support/typescript.js')).href
process.env['NODE_OPTIONS'] = `--import ${loader}` // for the stand-in and its workers
const ports = { control: 0, replay: 0, idp: 0, slack: 0, database: 0, shop: 0, gateway: 0, web: 0, ssh: 0 }
await dev({ ports, durable: false, customers: 50, program: join(import.meta.dirname, 'program.ts') })
