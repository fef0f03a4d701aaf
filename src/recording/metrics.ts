import { Gauge, register } from 'prom-client'
import type { Database } from '../db/database.ts'
import type { JournalState } from './journal.ts'

const aliveS = 10

/** Numbers of the journals of all gateway processes, on control's `/metrics`: what each says of itself with its heartbeat. */
export function measureJournals(database: Database): void {
  const figures: readonly [string, string, (state: JournalState) => number][] = [
    ['sallyport_journal_spool_bytes', 'Bytes of the spool of a gateway process', state => state.spool_bytes],
    ['sallyport_journal_spool_max_bytes', 'Bytes that the spool may have', state => state.spool_max_bytes],
    ['sallyport_journal_parts_waiting', 'Parts of recordings not wholly in the store', state => state.parts_waiting],
    [
      'sallyport_journal_failing_seconds',
      'For how long nothing could be shipped; 0: it works',
      state => state.failing_s,
    ],
    ['sallyport_journal_lost', '1: no session can be recorded', state => (state.unavailable === null ? 0 : 1)],
  ]
  for (const [name, help, figure] of figures) {
    register.removeSingleMetric(name)
    new Gauge({
      name,
      help,
      labelNames: ['process'],
      async collect() {
        this.reset()
        for (const { id, state } of await journalStates(database)) this.set({ process: id }, figure(state))
      },
    })
  }
}

async function journalStates(database: Database): Promise<{ id: string; state: JournalState }[]> {
  return await database.sql<{ id: string; state: JournalState }[]>`
    select id, facts->'journal' as state from processes
    where facts ? 'journal' and ready <> 'stopped' and heartbeat_at > clock_timestamp() - make_interval(secs => ${aliveS})
    order by id limit 1000`
}
