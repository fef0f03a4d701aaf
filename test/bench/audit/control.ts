// Run by the benchmark as a process of its own: the sequencer, woken by notices as in control, until standard input ends.
import { Notices } from '../../../src/db/notices.ts'
import { Secret } from '../../../src/secret.ts'
import { openSequencer } from './log.ts'

const [url, folder] = process.argv.slice(2).map(text => text) as [string, string]
const { database, sequencer } = openSequencer(new Secret(url), folder)
const notices = new Notices({ url: new Secret(url), application: 'bench' })
await notices.start()
notices.listen('audit', () => sequencer.wake())
const stop = new AbortController()
process.stdin.on('end', () => stop.abort()).resume()
console.log('ready')
await sequencer.run(stop.signal)
if (sequencer.problem !== null) console.error(sequencer.problem.message)
await notices.close()
await database.close()
