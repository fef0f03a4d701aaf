CREATE TABLE "policy_notices" (
	"id" text PRIMARY KEY NOT NULL,
	"key" text NOT NULL,
	"message" text NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	"attempts" bigint DEFAULT 0 NOT NULL,
	"next_try_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_error" text,
	"delivered_at" timestamp with time zone,
	CONSTRAINT "policy_notices_key_unique" UNIQUE("key")
);
--> statement-breakpoint
CREATE TABLE "policy_state" (
	"id" bigint PRIMARY KEY NOT NULL,
	"followed" text,
	"acknowledged" text,
	"pinned" text,
	"pinned_generation" bigint,
	"pinned_kind" text,
	"pinned_by" text,
	"pinned_at" timestamp with time zone,
	"pin_reason" text,
	"recovery_generation" bigint,
	"recovery_by" text,
	"recovery_reason" text,
	"recovery_ends_at" timestamp with time zone,
	"looked_at" timestamp with time zone,
	"looked_by" text,
	"head" text,
	"problem" text
);
--> statement-breakpoint
ALTER TABLE "revisions" ADD COLUMN "signer" text;--> statement-breakpoint
ALTER TABLE "revisions" ADD COLUMN "sources" "bytea";--> statement-breakpoint
ALTER TABLE "revisions" ADD COLUMN "kind" text DEFAULT 'followed' NOT NULL;--> statement-breakpoint
ALTER TABLE "revisions" ADD COLUMN "reused" bigint;--> statement-breakpoint
ALTER TABLE "revisions" ADD COLUMN "ends_at" timestamp with time zone;--> statement-breakpoint
CREATE INDEX "policy_notices_due" ON "policy_notices" USING btree ("next_try_at") WHERE delivered_at is null;