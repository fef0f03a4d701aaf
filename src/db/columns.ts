import { bigint, customType } from 'drizzle-orm/pg-core'

/** Bytes: `bytea` on the server, `Buffer` here. */
export const bytes = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' })

/** An instant or duration as a safe integer (ms or s, as the column's suffix says). */
export const integer53 = () => bigint({ mode: 'number' })
