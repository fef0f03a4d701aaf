import { cutAtAnyMoment } from '../db/cut-line.ts'
import { createTestDatabase } from '../support/database.ts'
import setup from '../support/database-setup.ts'

/**
 * `npm run conformance -- outage [ROUNDS]`: the line to the database is cut under transactions at one moment after the other,
 * 1000 times unless told otherwise; nothing may be left that nobody could catch, and no place of the pool may be stuck.
 */
const rounds = Number(process.argv[2] ?? 1_000)
const end = await setup()
const test = await createTestDatabase()
const { seen, served } = await cutAtAnyMoment(test, rounds)
await test.drop()
await end()
const stuck = served.filter(places => places !== 3).length
console.log(JSON.stringify({ rounds, looks: served.length, stuck, uncaught: seen.map(String) }))
process.exitCode = stuck === 0 && seen.length === 0 ? 0 : 1
