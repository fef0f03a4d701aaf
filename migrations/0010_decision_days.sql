-- A schema that none of the three users sees into: partitions are reached through their table, with its grants and row rules.
CREATE SCHEMA "decision_days";
--> statement-breakpoint
CREATE TABLE "action_decisions" (
	"id" text NOT NULL,
	"at_ms" bigint NOT NULL,
	"point" text NOT NULL,
	"effect" text NOT NULL,
	"code" text NOT NULL,
	"generation" bigint,
	"commit" text,
	"digest" text,
	"input_digest" text NOT NULL,
	"input" text NOT NULL,
	"result" text NOT NULL,
	"reasons" jsonb NOT NULL,
	"subject_id" text,
	"resource" text,
	"session_id" text,
	"request_id" text,
	"count" bigint DEFAULT 1 NOT NULL,
	"batch" text,
	"erased" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"masked" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"words" "tsvector" DEFAULT '' NOT NULL,
	"seq" bigint,
	"day" date NOT NULL,
	CONSTRAINT "action_decisions_id_day_pk" PRIMARY KEY("id","day"),
	CONSTRAINT "action_decisions_point" CHECK (point = 'action')
) PARTITION BY RANGE ("day");
--> statement-breakpoint
ALTER TABLE "action_decisions" ADD CONSTRAINT "action_decisions_generation_revisions_generation_fk" FOREIGN KEY ("generation") REFERENCES "public"."revisions"("generation") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "action_decisions_newest" ON "action_decisions" USING btree ("at_ms","id");--> statement-breakpoint
CREATE INDEX "action_decisions_of_subject" ON "action_decisions" USING btree ("subject_id","at_ms","id");--> statement-breakpoint
CREATE INDEX "action_decisions_of_resource" ON "action_decisions" USING btree ("resource","at_ms","id");--> statement-breakpoint
CREATE INDEX "action_decisions_of_session" ON "action_decisions" USING btree ("session_id","at_ms","id");--> statement-breakpoint
CREATE INDEX "action_decisions_of_revision" ON "action_decisions" USING btree ("generation","at_ms","id");--> statement-breakpoint
CREATE INDEX "action_decisions_not_allowed" ON "action_decisions" USING btree ("effect","at_ms","id") WHERE effect in ('deny', 'ask');--> statement-breakpoint
CREATE INDEX "action_decisions_words" ON "action_decisions" USING gin ("words");--> statement-breakpoint
CREATE INDEX "action_decisions_of_batch" ON "action_decisions" USING btree ("batch") WHERE batch is not null;--> statement-breakpoint
CREATE INDEX "action_decisions_unbatched" ON "action_decisions" USING btree ("at_ms") WHERE batch is null;--> statement-breakpoint
CREATE INDEX "action_decisions_placed" ON "action_decisions" USING btree ("seq") WHERE seq is not null;--> statement-breakpoint
CREATE INDEX "action_decisions_unplaced" ON "action_decisions" USING btree ("at_ms") WHERE seq is null;--> statement-breakpoint
CREATE INDEX "decisions_of_batch" ON "decisions" USING btree ("batch") WHERE batch is not null;--> statement-breakpoint
-- What belongs to a day that has no partition. Nothing is refused for want of one.
CREATE TABLE "decision_days"."rest" PARTITION OF "action_decisions" DEFAULT;--> statement-breakpoint
-- The day on which a session began, as decision-days.ts says it: 48 bits of milliseconds in the first ten digits of its id.
CREATE FUNCTION "decision_days"."day_of"(session_id text, at_ms bigint) RETURNS date LANGUAGE sql IMMUTABLE AS $$
	select case
		when ms is null or ms not between 0 and 4102444799999 then date '1970-01-01'
		else (to_timestamp(floor(ms / 86400000) * 86400) at time zone 'UTC')::date end
	from (select case
		when session_id is null then at_ms::numeric
		when session_id ~ '^ses_[0-9a-hjkmnp-tv-z]{26}$' then (
			select sum((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(session_id, 4 + i, 1)) - 1) * 32::numeric ^ (10 - i))
			from generate_series(1, 10) as i)
		end as ms) found
$$;--> statement-breakpoint
-- One day's partition. Made beside the table and then attached, so that nobody who reads or writes waits for it.
CREATE FUNCTION "decision_days"."make_one"(d date) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
declare
	name text := 'd' || to_char(d, 'YYYYMMDD');
begin
	if to_regclass('decision_days.' || name) is not null then return false; end if;
	-- rows of that day that came before it lie with the rest, and stay there
	if exists (select from decision_days.rest where day = d) then return false; end if;
	execute format('create table decision_days.%I (like public.action_decisions including all)', name);
	execute format('alter table public.action_decisions attach partition decision_days.%I for values from (%L) to (%L)', name, d, d + 1);
	return true;
end $$;--> statement-breakpoint
CREATE FUNCTION "decision_days"."make"(ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
declare
	made integer := 0;
begin
	if ahead not between 0 and 31 then raise exception 'days ahead: 0 to 31'; end if;
	perform pg_advisory_xact_lock(7310452881603);
	for i in -1..ahead loop
		if decision_days.make_one((clock_timestamp() at time zone 'UTC')::date + i) then made := made + 1; end if;
	end loop;
	return made;
end $$;--> statement-breakpoint
-- Days that have passed and hold nothing any more. INVARIANT: what is dropped was seen to be empty under its lock.
CREATE FUNCTION "decision_days"."drop_empty"() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
declare
	dropped integer := 0;
	name text;
	holds boolean;
begin
	perform pg_advisory_xact_lock(7310452881603);
	for name in
		select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
		where i.inhparent = 'public.action_decisions'::regclass and c.relname ~ '^d\d{8}$'
			and to_date(substr(c.relname, 2), 'YYYYMMDD') < (clock_timestamp() at time zone 'UTC')::date - 2
		order by 1
	loop
		execute format('select exists (select from decision_days.%I)', name) into holds;
		if holds then continue; end if;
		execute format('lock table decision_days.%I in access exclusive mode', name);
		execute format('select exists (select from decision_days.%I)', name) into holds;
		if holds then continue; end if;
		execute format('drop table decision_days.%I', name);
		dropped := dropped + 1;
	end loop;
	return dropped;
end $$;--> statement-breakpoint
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA "decision_days" FROM PUBLIC;--> statement-breakpoint
DO $$
declare
	d date;
begin
	for d in select distinct decision_days.day_of(session_id, at_ms) from public.decisions where point = 'action' order by 1 loop
		if d > date '1970-01-01' then perform decision_days.make_one(d); end if;
	end loop;
end $$;--> statement-breakpoint
SELECT "decision_days"."make"(7);--> statement-breakpoint
INSERT INTO "action_decisions" ("id", "at_ms", "point", "effect", "code", "generation", "commit", "digest", "input_digest", "input", "result",
	"reasons", "subject_id", "resource", "session_id", "request_id", "count", "batch", "erased", "masked", "words", "seq", "day")
SELECT "id", "at_ms", "point", "effect", "code", "generation", "commit", "digest", "input_digest", "input", "result",
	"reasons", "subject_id", "resource", "session_id", "request_id", "count", "batch", "erased", "masked", "words", "seq",
	"decision_days"."day_of"("session_id", "at_ms")
FROM "decisions" WHERE "point" = 'action';--> statement-breakpoint
DELETE FROM "decisions" WHERE "point" = 'action';
