CREATE TABLE "shadow_counts" (
	"number" bigint NOT NULL,
	"process_id" text NOT NULL,
	"judged" bigint DEFAULT 0 NOT NULL,
	"diverged" bigint DEFAULT 0 NOT NULL,
	"skipped" bigint DEFAULT 0 NOT NULL,
	"left" bigint DEFAULT 0 NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "shadow_counts_number_process_id_pk" PRIMARY KEY("number","process_id")
);
--> statement-breakpoint
CREATE TABLE "shadow_divergences" (
	"number" bigint NOT NULL,
	"generation" bigint NOT NULL,
	"key" text NOT NULL,
	"point" text NOT NULL,
	"change" text NOT NULL,
	"subject" jsonb,
	"resource" text,
	"role" text,
	"before" jsonb NOT NULL,
	"after" jsonb NOT NULL,
	"details" jsonb NOT NULL,
	"count" bigint NOT NULL,
	"first_at_ms" bigint NOT NULL,
	"last_at_ms" bigint NOT NULL,
	"examples" jsonb NOT NULL,
	CONSTRAINT "shadow_divergences_number_generation_key_pk" PRIMARY KEY("number","generation","key")
);
--> statement-breakpoint
CREATE TABLE "shadow_revisions" (
	"number" bigint PRIMARY KEY NOT NULL,
	"commit" text NOT NULL,
	"digest" text,
	"bundle" "bytea",
	"signature" "bytea",
	"author" text NOT NULL,
	"subject_line" text NOT NULL,
	"problems" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp with time zone
);
--> statement-breakpoint
ALTER TABLE "shadow_counts" ADD CONSTRAINT "shadow_counts_number_shadow_revisions_number_fk" FOREIGN KEY ("number") REFERENCES "public"."shadow_revisions"("number") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "shadow_divergences" ADD CONSTRAINT "shadow_divergences_number_shadow_revisions_number_fk" FOREIGN KEY ("number") REFERENCES "public"."shadow_revisions"("number") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "shadow_divergences_most" ON "shadow_divergences" USING btree ("number","generation","count" desc);