import { sql } from 'drizzle-orm'
import type { PersonalRows } from '../audit/personal.ts'

/** From where a person connected, and what their client said of itself. */
export const personalConnections: PersonalRows = {
  name: 'connections',
  find: async (tx, who, limit) => {
    const rows = await tx.execute<{ id: string }>(sql`
      select c.id from connections c join sessions s on s.id = c.session_id
      where s.subject_id = ${who.subject_id} and c.closed_at is not null and (c.client_address <> '' or c.client <> '{}')
        and s.id <> all(${sql.param([...who.held_sessions])}::text[])
      limit ${limit}`)
    return rows.map(row => row.id)
  },
  erase: async (tx, _, found) => {
    await tx.execute(sql`
      update connections set client_address = '', client = '{}' where id = any(${sql.param([...found])}::text[])`)
  },
}
