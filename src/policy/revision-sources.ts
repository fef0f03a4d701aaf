import { gunzipSync, gzipSync } from 'node:zlib'
import { and, desc, eq, isNotNull } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { SourceCollector, type Sources } from './repository/sources.ts'
import { revisions } from './schema.ts'
import { readTar, writeTar } from './tar.ts'

/** Sources are bounded (sources.ts); the frame of the archive adds some 1.5 KiB a file. */
const maxArchiveBytes = 40 << 20

/** What a revision was compiled from, for whoever computes its bundle or a decision of it again. */
export interface RevisionSources {
  readonly generation: number
  readonly commit: string
  readonly digest: string
  /** The compiler that built the bundle. */
  readonly opa_version: string
  /** `bundleOpts` of the build that made it. */
  readonly opts: number
  readonly sources: Sources
}

/**
 * The sources of a generation, or of the newest generation of a commit. They are kept as long as their revision, which
 * is as long as a decision may refer to it: for ever. The digest proves them: who compiles them again must get it.
 * @returns undefined where there is no such revision, or where it was activated before sources were kept.
 * @throws Error for an archive that is not one of ours.
 */
export async function revisionSources(db: Queryable, of: number | string): Promise<RevisionSources | undefined> {
  const { generation, commit, digest, opa_version, opts, sources } = revisions
  const [row] = await db
    .select({ generation, commit, digest, opa_version, opts, sources })
    .from(revisions)
    .where(and(typeof of === 'number' ? eq(generation, of) : eq(commit, of), isNotNull(sources)))
    .orderBy(desc(generation))
    .limit(1)
  return row === undefined || row.sources === null ? undefined : { ...row, sources: unpackSources(row.sources) }
}

/** The same as the archive that is stored: a gzipped tar. */
export async function sourcesArchive(
  db: Queryable,
  generation: number,
): Promise<{ readonly commit: string; readonly archive: Buffer } | undefined> {
  const [row] = await db
    .select({ commit: revisions.commit, archive: revisions.sources })
    .from(revisions)
    .where(eq(revisions.generation, generation))
  return row === undefined || row.archive === null ? undefined : { commit: row.commit, archive: row.archive }
}

export function packSources(sources: Sources): Buffer {
  return gzipSync(writeTar(sources))
}

/** @throws Error for bytes that are no archive, Refused for one that holds what the gate would never have read. */
export function unpackSources(archive: Uint8Array): Sources {
  const collector = new SourceCollector()
  for (const [path, content] of readTar(gunzipSync(archive, { maxOutputLength: maxArchiveBytes })))
    if (collector.wants(path, 'file', content.length)) collector.add(path, content)
  return collector.done()
}
