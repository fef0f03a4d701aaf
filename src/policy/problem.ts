import { SallyportError } from '../errors.ts'

/** What is wrong with a commit, for the person who wrote it. `file` is relative to the policy root, `line` counts from 1. */
export interface Problem {
  readonly code: string
  readonly message: string
  readonly file?: string
  readonly line?: number
}

/** Problems at the same place about the same thing are told once: those of `first` win. */
export function mergeProblems(first: readonly Problem[], more: readonly Problem[]): Problem[] {
  const told = new Set(first.map(({ file, line }) => `${file}:${line}`))
  return [...first, ...more.filter(({ file, line }) => !told.has(`${file}:${line}`))]
}

/** One line for each problem: `file:line: message`. */
export function problemText(problem: Problem): string {
  const at =
    problem.file === undefined ? '' : `${problem.file}${problem.line === undefined ? '' : `:${problem.line}`}: `
  return `${at}${problem.message}`
}

/** Thrown through the steps of the gate; a commit with problems is an answer, not a fault. */
export class Refused extends Error {
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[]) {
    super(problems.map(problemText).join('\n'))
    this.problems = problems
  }
}

/** A refusal as the command line shows it. */
export function refusalError({ problems }: Refused): SallyportError {
  const message = `the policies were refused:\n  ${problems.map(problemText).join('\n  ')}`
  return new SallyportError('bad_request', message, {
    remedy: 'correct them and try again; the last good revision stays in force',
    facts: { problems },
  })
}
