import { sql } from 'drizzle-orm'
import { type Refused, refuse } from '../approvals/refusal.ts'
import type { SubjectFacts } from '../policy/points.ts'
import type { SessionGround } from './ports.ts'

/**
 * The role of who names none: the one they have a live grant for, else the only one they may ask for. It only chooses;
 * what the role is worth is decided afterwards.
 */
export async function chooseRole(
  ground: SessionGround,
  subject: SubjectFacts,
  resource: string,
): Promise<string | Refused> {
  const live = await ground.database.db.execute<{ role: string }>(sql`
    select distinct g.role from grants g join requests r on r.id = g.request_id
    where g.subject_id = ${subject.id} and g.resource = ${resource} and r.on_behalf_of is not distinct from ${subject.on_behalf_of}
      and g.ended_at is null and g.ends_at > clock_timestamp()
    order by g.role limit 20`)
  const given = ground.resources.rolesOf(subject, resource).map(entry => entry.role)
  const roles = live.length > 0 ? live.map(row => row.role) : given
  if (roles.length === 1) return roles[0]!
  if (roles.length === 0) return refuse('policy_denied', `none of your groups has a role on ${resource}`)
  return {
    ...refuse(
      'bad_request',
      `several roles are possible on ${resource}: ${roles.join(', ')}`,
      'name one of them (--role)',
    ),
    ...(live.length === 0 && { ask: true as const }), // who holds some of them has only to choose
  }
}
