import { type Static, Type as T } from 'typebox'
import { Compile } from 'typebox/compile'
import { parseDocument } from 'yaml'
import { placedFaults } from '../faults.ts'
import type { Coverage } from './compiler.ts'
import { type Problem, Refused } from './problem.ts'
import type { Sources } from './repository/sources.ts'
import { placesIn } from './yaml-place.ts'

/** The file in which a repository says what the gate demands of it besides what it demands of all. */
export const settingsFile = 'policy.yaml'

const maxChars = 64 * 1024
const closed = { additionalProperties: false }

export const RepositorySettings = T.Object(
  {
    tests: T.Optional(
      T.Object(
        { min_coverage: T.Optional(T.Number({ minimum: 0, maximum: 100 })) }, // percent of the lines that the tests must run
        closed,
      ),
    ),
  },
  closed,
)
export type RepositorySettings = Static<typeof RepositorySettings>

const checker = Compile(RepositorySettings)

/** @throws Refused for a file that is not understood whole: a misspelt demand would be no demand. */
export function readSettings(sources: Sources): RepositorySettings {
  const text = sources.get(settingsFile)?.toString('utf8')
  if (text === undefined) return {}
  if (text.length > maxChars)
    throw new Refused([{ code: 'settings', file: settingsFile, message: `has more than ${maxChars} characters` }])
  let value: unknown
  try {
    const document = parseDocument(text)
    if (document.errors[0] !== undefined) throw document.errors[0]
    value = document.toJS({ maxAliasCount: 10 }) ?? {}
  } catch (error) {
    const why = (error as Error).message.split('\n')[0]
    throw new Refused([{ code: 'settings', file: settingsFile, line: 1, message: `cannot be read: ${why}` }])
  }
  if (checker.Check(value)) return value
  throw new Refused(
    placedFaults(checker.Errors(value)).map(({ at, text: fault }) => ({
      code: 'settings',
      file: settingsFile,
      line: placesIn(text)(at.split('/').slice(1)),
      message: `${at}: ${fault}`,
    })),
  )
}

/** What is missing to the coverage that a repository demands: what no test runs, file by file. */
export async function coverageProblems(measure: () => Promise<Coverage>, sources: Sources): Promise<Problem[]> {
  const least = readSettings(sources).tests?.min_coverage ?? 0
  if (least === 0) return []
  const coverage = await measure()
  if (coverage.percent >= least) return []
  const text = sources.get(settingsFile)!.toString('utf8')
  return [
    {
      code: 'coverage',
      file: settingsFile,
      line: placesIn(text)(['tests', 'min_coverage']),
      message: `the tests run ${coverage.percent.toFixed(1)} % of the lines; this repository demands ${least} %`,
    },
    ...coverage.untested.map(({ file, ranges }) => ({
      code: 'coverage',
      file,
      line: ranges[0]![0],
      message: `no test runs line ${ranges
        .slice(0, 20)
        .map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`))
        .join(', ')}`,
    })),
  ]
}
