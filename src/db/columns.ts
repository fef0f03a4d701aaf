import { sql } from 'drizzle-orm'
import { bigint, customType, text } from 'drizzle-orm/pg-core'

/** Bytes: `bytea` on the server, `Buffer` here. */
export const bytes = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' })

/** An instant or duration as a safe integer (ms or s, as the column's suffix says). */
export const integer53 = () => bigint({ mode: 'number' })

/** The database user who inserted the row; row rules (grants.ts) let nobody put another name there. */
export const ownerColumn = () => text().notNull().default(sql`current_user`)

/** Words to search by: a `tsvector`, made on the server from lexemes of ours. */
export const lexemes = customType<{ data: string }>({ dataType: () => 'tsvector' })
