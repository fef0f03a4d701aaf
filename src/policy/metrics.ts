import { Counter, Gauge, type Metric, register } from 'prom-client'
import type { Problem } from './problem.ts'

/** Numbers of the policy repository, on control's `/metrics`. */
const refused = () =>
  known(
    'sallyport_policy_refused_total',
    name =>
      new Counter({
        name,
        help: 'Commits that the gate refused, by the code of their first problem',
        labelNames: ['code'],
      }),
  )
const problemsNow = () =>
  known(
    'sallyport_policy_problems',
    name => new Gauge({ name, help: 'Problems of the newest commit that was looked at; 0: it is in force' }),
  )
const looked = () =>
  known(
    'sallyport_policy_looked_timestamp_seconds',
    name => new Gauge({ name, help: 'When this process last looked at the policy repository with success' }),
  )
const generationNow = () =>
  known('sallyport_policy_generation', name => new Gauge({ name, help: 'Generation of the revision in force' }))

/** A commit did not pass. */
export function countRefusal(problems: readonly Problem[]): void {
  refused().inc({ code: problems[0]?.code ?? 'unknown' })
  problemsNow().set(problems.length)
}

/** The repository answered. */
export function countLook(): void {
  looked().setToCurrentTime()
}

/** A commit passed. */
export function countActivation(): void {
  problemsNow().set(0)
}

/** This process decides by another revision, whoever put it into force: the ref, a hand, a recovery. */
export function countSwitch(generation: number): void {
  generationNow().set(generation)
}

/** Several controls of one process, as tests have them, share their numbers. */
function known<M extends Metric>(name: string, make: (name: string) => M): M {
  return (register.getSingleMetric(name) as M | undefined) ?? make(name)
}
