CREATE TABLE "proposals" (
	"id" text PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"body" jsonb NOT NULL,
	"reason" text NOT NULL,
	"state" text DEFAULT 'pending' NOT NULL,
	"proposed_by" text NOT NULL,
	"proposed_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"answered_by" text,
	"answered_at" timestamp with time zone,
	"decision_id" text,
	"progress" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"done_at" timestamp with time zone,
	CONSTRAINT "proposals_two_people" CHECK ("proposals"."answered_by" is null or "proposals"."state" <> 'confirmed' or "proposals"."answered_by" <> "proposals"."proposed_by")
);
--> statement-breakpoint
CREATE TABLE "retention_floors" (
	"class" text PRIMARY KEY NOT NULL,
	"keep_s" bigint NOT NULL,
	"set_by" text NOT NULL,
	"set_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "legal_holds" ADD COLUMN "case_ref" text;--> statement-breakpoint
ALTER TABLE "recordings" ADD COLUMN "kept_seal" text;--> statement-breakpoint
ALTER TABLE "recordings" ADD COLUMN "kept_until_ms" bigint;--> statement-breakpoint
ALTER TABLE "recordings" ADD COLUMN "kept_hold" boolean DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX "proposals_under_way" ON "proposals" USING btree ("id") WHERE done_at is null and state in ('pending', 'confirmed');--> statement-breakpoint
CREATE INDEX "legal_holds_standing" ON "legal_holds" USING btree ("recording_id") WHERE lifted_at is null;--> statement-breakpoint
CREATE INDEX "legal_holds_of_case" ON "legal_holds" USING btree ("case_ref") WHERE case_ref is not null;--> statement-breakpoint
CREATE INDEX "recordings_not_kept" ON "recordings" USING btree ("id") WHERE state in ('sealed', 'interrupted') and kept_seal is distinct from seal_hash;--> statement-breakpoint
CREATE INDEX "recordings_held_in_store" ON "recordings" USING btree ("id") WHERE kept_hold;