// Run by process-tree.test.ts: the development system as it is built, with a stand-in for the roles, in the data folder of the environment.
import { join } from 'node:path'
import { dev } from '../../dist/dev/main.js'

const ports = { control: 0, replay: 0, idp: 0, slack: 0, database: 0, shop: 0, gateway: 0, web: 0, ssh: 0 }
await dev({ ports, durable: false, customers: 50, program: join(import.meta.dirname, 'program.js') })
