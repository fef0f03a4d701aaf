// Run by `audit-faults`: records, sequences, signs and copies, with one fault; says what was committed, and whether it met the fault.
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import { Sequencer } from '../../../src/audit/sequencer.ts'
import { openDatabase } from '../../../src/db/database.ts'
import { Secret } from '../../../src/secret.ts'
import { appendTwice, type Fault, FaultyCopy, faultyDatabase, Injector } from '../../audit/faults.ts'
import { fixedKey, origin } from '../../audit/support.ts'

const [url, path, fault, n] = JSON.parse(await text(process.stdin)) as [string, string, Fault, string]
const injector = new Injector(fault, Number(n))
const real = openDatabase({ url: new Secret(url), max: 2, application: 'faulty' })
const database = faultyDatabase(real, injector)
const said = await appendTwice(database, `prc_${fault.replace(/\W/g, '')}${n}`, Number(n) * 10)
for (const number of said) process.stdout.write(`said ${number}\n`)
const sequencer = new Sequencer({
  database,
  url: new Secret(url),
  key: fixedKey(),
  origin,
  copy: new FaultyCopy(path, injector),
  logger: pino({ level: 'silent' }),
})
await sequencer.step()
await sequencer.step()
await sequencer.release()
process.stdout.write(injector.hit === null ? 'clean\n' : `met ${injector.hit}\n`)
await real.close()
