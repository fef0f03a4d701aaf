import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What takes longest, in seconds of two workers on two cores. A file that is missing here starts after these; nothing else depends on it. */
const known: Readonly<Record<string, number>> = {
  'journeys/crash': 145,
  'journeys/commands': 109,
  'journeys/retention': 86,
  'journeys/ssh': 85,
  'journeys/bad-input': 80,
  'journeys/process-tree': 75,
  'journeys/policy-sources': 69,
  'journeys/git': 63,
  'journeys/revocation': 58,
  'journeys/readme': 58,
  'policy/steering': 52,
  'journeys/hold': 48,
  'journeys/denials': 46,
  'policy/gate': 45,
  'journeys/masking': 44,
  'journeys/slack': 37,
  'gateway/session': 37,
  'protocols/conformance': 34,
  'protocols/ssh/hardening': 31,
  'evidence/verify-decision': 29,
  'policy/shadow': 28,
  'gateway/moderation': 27,
  'protocols/ssh/as-direct': 26,
  'protocols/ssh/refusals': 25,
  'db/outage': 25,
  'protocols/ssh/bad-input': 25,
  'cli/policy-init': 25,
  'cli/impact': 25,
  'policy/repository': 24,
  'protocols/ssh/forwarding': 23,
  'audit/sequencer': 21,
  'identity/lost-refresh': 20,
}

/**
 * Longest first, so that no worker ends minutes before the other; of files that are not known to be long, those of one
 * project follow each other, because a worker keeps what it has loaded for the next file of the same project.
 */
export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const projects = ['journeys', 'servers', 'unit']
    const rank = (spec: TestSpecification) => projects.indexOf(spec.project.name)
    const sorted = await super.sort(files)
    return sorted.toSorted((a, b) => rank(a) - rank(b) || seconds(b) - seconds(a))
  }
}

function seconds({ moduleId }: TestSpecification): number {
  const name = /test\/(.+)\.test\.ts$/.exec(moduleId)?.[1] ?? ''
  return known[name] ?? 0
}
