CREATE TABLE "decision_exports" (
	"name" text PRIMARY KEY NOT NULL,
	"seq" bigint DEFAULT 0 NOT NULL,
	"exported_at" timestamp with time zone,
	"failing_since" timestamp with time zone,
	"last_error" text
);
--> statement-breakpoint
CREATE TABLE "decision_places" (
	"id" bigint PRIMARY KEY NOT NULL,
	"last" bigint NOT NULL
);
--> statement-breakpoint
DROP INDEX "decisions_at_ms_index";--> statement-breakpoint
DROP INDEX "decisions_subject_id_at_ms_index";--> statement-breakpoint
DROP INDEX "decisions_session_id_index";--> statement-breakpoint
ALTER TABLE "decisions" ADD COLUMN "erased" jsonb DEFAULT '[]'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "decisions" ADD COLUMN "masked" jsonb DEFAULT '[]'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "decisions" ADD COLUMN "words" "tsvector" DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "decisions" ADD COLUMN "seq" bigint;--> statement-breakpoint
-- what was written before is found by the same words: the rules, and what resource, reasons and input say
UPDATE "decisions" SET "words" = array_to_tsvector(array(
	select distinct left('rule=' || (r ->> 'rule'), 256) from jsonb_array_elements(reasons) r where r ->> 'rule' is not null
	union
	(select distinct left(w, 48) from unnest(string_to_array(lower(left(regexp_replace(
		coalesce(resource, '') || ' ' || reasons::text || ' ' || input, '[^[:alnum:]_]+', ' ', 'g'), 8192)), ' ')) w where w <> '' limit 64)
));--> statement-breakpoint
CREATE INDEX "decisions_newest" ON "decisions" USING btree ("at_ms","id");--> statement-breakpoint
CREATE INDEX "decisions_of_subject" ON "decisions" USING btree ("subject_id","at_ms","id");--> statement-breakpoint
CREATE INDEX "decisions_of_resource" ON "decisions" USING btree ("resource","at_ms","id");--> statement-breakpoint
CREATE INDEX "decisions_of_session" ON "decisions" USING btree ("session_id","at_ms","id");--> statement-breakpoint
CREATE INDEX "decisions_of_request" ON "decisions" USING btree ("request_id") WHERE request_id is not null;--> statement-breakpoint
CREATE INDEX "decisions_of_revision" ON "decisions" USING btree ("generation","at_ms","id");--> statement-breakpoint
CREATE INDEX "decisions_not_allowed" ON "decisions" USING btree ("effect","at_ms","id") WHERE effect in ('deny', 'ask');--> statement-breakpoint
CREATE INDEX "decisions_words" ON "decisions" USING gin ("words");--> statement-breakpoint
CREATE INDEX "decisions_placed" ON "decisions" USING btree ("seq") WHERE seq is not null;--> statement-breakpoint
CREATE INDEX "decisions_unplaced" ON "decisions" USING btree ("at_ms") WHERE seq is null;