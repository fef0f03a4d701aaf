import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { SallyportError } from '../errors.ts'
import type { Sources } from '../policy/repository/sources.ts'
import type { Client } from './client.ts'
import { plain, say, seconds } from './output.ts'

const maxProofBytes = 32 << 20

export interface VerifyDecisionCommand {
  readonly repo?: string
  readonly folder?: string
  readonly key?: string
  readonly bundlesKey?: string
  readonly maxGroupsAge?: string
  readonly output?: string
}

/**
 * Computes a decision again and says what was proved and what was not.
 * @param id a decision of the server, or a file that `--output` wrote: then no server is needed with `--repo`.
 * @returns exit code 0 only where nothing is wrong.
 */
export async function verifyDecision(
  client: () => Client,
  id: string,
  options: VerifyDecisionCommand,
): Promise<number> {
  const { verifyDecision: verify } = await import('../evidence/verify-decision.ts')
  const { parsePublicKey } = await import('../signing-keys.ts')
  const { findOpa } = await import('../policy/opa-binary.ts')
  const proof = existsSync(id)
    ? readProof(id)
    : await client().get<unknown>(`/api/decisions/${encodeURIComponent(id)}/proof`)
  if (options.output !== undefined) writeFileSync(options.output, `${JSON.stringify(proof, null, 2)}\n`)
  const report = await verify(proof, {
    sources: of =>
      options.repo === undefined ? fromServer(client, of) : fromRepository(options.repo, options.folder, of),
    opa: await findOpa({ progress: line => process.stderr.write(`${line}\n`) }),
    vkey: options.key,
    bundles: options.bundlesKey === undefined ? undefined : parsePublicKey(options.bundlesKey),
    max_groups_age_s: options.maxGroupsAge === undefined ? undefined : seconds(options.maxGroupsAge),
  })
  for (const line of report.proved) say(`proved: ${plain(line)}`)
  for (const line of report.not_proved) say(`not proved: ${plain(line)}`)
  for (const line of report.flaws) say(`FLAW: ${plain(line)}`)
  say(report.ok ? 'Nothing contradicts this decision.' : 'This decision does NOT hold.')
  return report.ok ? 0 : 1
}

function readProof(path: string): unknown {
  if (statSync(path).size > maxProofBytes) throw new SallyportError('bad_request', `${path} is too large for a proof`)
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    throw new SallyportError('bad_request', `${path} is no JSON`, {
      remedy: 'give a file that `sallyport verify-decision ID --output FILE` wrote',
    })
  }
}

async function fromRepository(repo: string, folder: string | undefined, of: { commit: string }) {
  const { openLocalRepository } = await import('../policy/impact/local-git.ts')
  const repository = await openLocalRepository(repo)
  const commit = await repository.commitOf(of.commit)
  const sources = await repository.sources(commit, (folder ?? repository.prefix).replace(/\/+$/, ''))
  return { sources, from: `from ${repo}` }
}

/** What the server kept is as good as a repository: whether it is the commit's, the digest says. */
async function fromServer(
  client: () => Client,
  of: { generation: number },
): Promise<{ sources: Sources; from: string } | null> {
  const { unpackSources } = await import('../policy/revision-sources.ts')
  try {
    const archive = await client().bytes(`/api/policy/revisions/${of.generation}/sources`)
    return { sources: unpackSources(archive), from: 'as the server kept it' }
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'not_found') return null
    throw error
  }
}
