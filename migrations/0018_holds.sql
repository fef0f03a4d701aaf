CREATE TABLE "holds" (
	"request_id" text PRIMARY KEY NOT NULL,
	"session_id" text NOT NULL,
	"connection_id" text NOT NULL,
	"process_id" text NOT NULL,
	"text" text,
	"shown" jsonb NOT NULL,
	"held" jsonb NOT NULL,
	"decision_id" text NOT NULL,
	"seen_at" timestamp with time zone DEFAULT now() NOT NULL,
	"released_at" timestamp with time zone
);
--> statement-breakpoint
ALTER TABLE "requests" DROP CONSTRAINT "requests_bounds";--> statement-breakpoint
ALTER TABLE "requests" ADD COLUMN "kind" text DEFAULT 'access' NOT NULL;--> statement-breakpoint
ALTER TABLE "holds" ADD CONSTRAINT "holds_request_id_requests_id_fk" FOREIGN KEY ("request_id") REFERENCES "public"."requests"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "holds_session_id_index" ON "holds" USING btree ("session_id");--> statement-breakpoint
ALTER TABLE "requests" ADD CONSTRAINT "requests_kind" CHECK ("requests"."kind" in ('access','hold'));--> statement-breakpoint
ALTER TABLE "requests" ADD CONSTRAINT "requests_bounds" CHECK (length("requests"."reason") between 1 and 2000 and ("requests"."duration_s" >= 60 or ("requests"."kind" = 'hold' and "requests"."duration_s" = 0)));