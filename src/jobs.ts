import { createPostgresBackend, withBackend } from 'bullmq'
import { faultMessage, logger } from './log.ts'
import type { Secret } from './secret.ts'

const log = logger('jobs')
const queueName = 'sallyport'

/** Something to do again and again. It must be safe to run twice, on two hosts at once, and after any outage. */
export interface Job {
  readonly name: string
  readonly every_ms: number
  run(): Promise<unknown>
}

/** Jobs of this process alone, each at its own pace: what must happen within a second or two. */
export function startTicks(jobs: readonly Job[]): AsyncDisposable {
  const turns = jobs.map(job => new Turn(job))
  const timers = turns.map(turn => setInterval(() => void turn.take(), turn.every_ms))
  return {
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearInterval(timer)
      await Promise.all(turns.map(turn => turn.idle))
    },
  }
}

/**
 * Jobs of the whole deployment, spread over the replicas by a queue. INVARIANT: a queue only wakes somebody up. Behind
 * each job stands a sweeper in this process, which runs it when the queue has been silent for longer than its interval.
 */
export async function startJobs(options: {
  readonly url: Secret
  readonly jobs: readonly Job[]
}): Promise<AsyncDisposable> {
  const { Queue, Worker } = withBackend(createPostgresBackend)
  const connection = { connectionString: options.url.reveal(), schema: 'jobs', migrate: true, max: 3 }
  const byName = new Map(options.jobs.map(job => [job.name, new Turn(job)]))
  const queue = new Queue(queueName, { connection, defaultJobOptions: { removeOnComplete: true, removeOnFail: 100 } })
  const onError = (error: Error) =>
    log.warn({ err: faultMessage(error) }, 'the queue is out of reach; sweepers carry on')
  queue.on('error', onError)
  await queue.waitUntilReady()
  for (const job of options.jobs) await queue.upsertJobScheduler(job.name, { every: job.every_ms }, { name: job.name })
  for (const old of await queue.getJobSchedulers()) {
    if (!byName.has(old.key)) await queue.removeJobScheduler(old.key)
  }
  const worker = new Worker(queueName, async job => byName.get(job.name)?.take(), { connection, concurrency: 4 })
  worker.on('error', onError)
  const sweeper = setInterval(() => {
    for (const turn of byName.values()) if (turn.overdue) void turn.take()
  }, 1_000)
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(sweeper)
      await worker.close()
      await queue.close()
      await Promise.all([...byName.values()].map(turn => turn.idle))
    },
  }
}

/** One job in this process: never twice at once, and never given up because it failed once. */
class Turn {
  readonly every_ms: number
  readonly #job: Job
  #last = 0 // so that the first sweep catches up with whatever happened while nobody ran
  #running: Promise<void> | undefined
  #failing = ''

  constructor(job: Job) {
    this.#job = job
    this.every_ms = job.every_ms
  }

  get overdue(): boolean {
    return this.#running === undefined && Date.now() - this.#last > this.every_ms * 1.5
  }

  get idle(): Promise<void> {
    return this.#running ?? Promise.resolve()
  }

  take(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #run(): Promise<void> {
    this.#last = Date.now()
    try {
      await this.#job.run()
      this.#failing = ''
    } catch (error) {
      const message = faultMessage(error)
      // A database that is away for an hour is said once, not 3,600 times.
      if (message !== this.#failing) log.error({ job: this.#job.name, err: message }, 'a job failed; it runs again')
      this.#failing = message
    }
  }
}
