ALTER TABLE "decision_exports" ADD COLUMN "leased_by" text;--> statement-breakpoint
ALTER TABLE "decision_exports" ADD COLUMN "leased_until" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "decision_exports" ADD COLUMN "alarmed_at" timestamp with time zone;