import { sql } from 'drizzle-orm'
import { Gauge, register } from 'prom-client'
import type { Database } from '../db/database.ts'

/** Numbers of the reviews that nobody answered yet, on control's `/metrics`. Call it every few seconds. */
export async function measureReviews({ db }: Database): Promise<void> {
  const [row] = await db.execute<{ open: number; overdue: number }>(sql`
    select count(*)::int as open, (count(*) filter (where due_at <= clock_timestamp()))::int as overdue
    from reviews where answered_at is null`)
  gauge('sallyport_reviews_open', 'Reviews of what was done under a grant that nobody answered yet').set(row!.open)
  gauge('sallyport_reviews_overdue', 'Those of them that should have been answered').set(row!.overdue)
}

function gauge(name: string, help: string): Gauge {
  return (register.getSingleMetric(name) as Gauge | undefined) ?? new Gauge({ name, help })
}
