CREATE TABLE "recording_watches" (
	"decision_id" text PRIMARY KEY NOT NULL,
	"session_id" text NOT NULL,
	"subject_id" text NOT NULL,
	"on_behalf_of" text,
	"process_id" text NOT NULL,
	"seen_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE INDEX "recording_watches_session_id_index" ON "recording_watches" USING btree ("session_id");