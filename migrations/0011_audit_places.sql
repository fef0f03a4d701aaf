CREATE TABLE "audit_places" (
	"seq" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "audit_places_seq_seq" INCREMENT BY 4096 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 4096 CACHE 1),
	"writer" text NOT NULL,
	"wseq" bigint NOT NULL,
	"count" integer NOT NULL,
	"idx" bigint,
	CONSTRAINT "audit_places_count" CHECK ("audit_places"."count" between 1 and 4096)
);
--> statement-breakpoint
DROP INDEX "audit_inbox_writer_wseq_index";--> statement-breakpoint
DROP INDEX "audit_inbox_idx";--> statement-breakpoint
DROP INDEX "audit_inbox_waiting";--> statement-breakpoint
DROP INDEX "audit_inbox_type_at_ms_index";--> statement-breakpoint
ALTER TABLE "audit_inbox" ALTER COLUMN "seq" DROP IDENTITY;--> statement-breakpoint
-- each event that is there already becomes a batch of its own
INSERT INTO "audit_places" ("seq", "writer", "wseq", "count", "idx") OVERRIDING SYSTEM VALUE
SELECT "seq" * 4096, "writer", "wseq", 1, "idx" FROM "audit_inbox";--> statement-breakpoint
SELECT setval('audit_places_seq_seq', coalesce(max("seq"), 4096), max("seq") IS NOT NULL) FROM "audit_places";--> statement-breakpoint
DROP INDEX "audit_inbox_seq_index";--> statement-breakpoint
UPDATE "audit_inbox" SET "seq" = "seq" * 4096;--> statement-breakpoint
CREATE UNIQUE INDEX "audit_inbox_seq_index" ON "audit_inbox" USING btree ("seq");--> statement-breakpoint
CREATE UNIQUE INDEX "audit_places_writer_wseq_index" ON "audit_places" USING btree ("writer","wseq");--> statement-breakpoint
CREATE UNIQUE INDEX "audit_places_idx" ON "audit_places" USING btree ("idx") WHERE idx is not null;--> statement-breakpoint
CREATE INDEX "audit_places_waiting" ON "audit_places" USING btree ("seq") WHERE idx is null;--> statement-breakpoint
CREATE INDEX "audit_inbox_type_seq_index" ON "audit_inbox" USING btree ("type","seq");--> statement-breakpoint
ALTER TABLE "audit_inbox" DROP COLUMN "idx";