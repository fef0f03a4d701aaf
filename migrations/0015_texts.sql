CREATE TABLE "recording_indexes" (
	"recording_id" text PRIMARY KEY NOT NULL,
	"seal_hash" text,
	"claimed_by" text NOT NULL,
	"claimed_until" timestamp with time zone NOT NULL,
	"indexed_at" timestamp with time zone,
	"problem" text
);
--> statement-breakpoint
CREATE TABLE "recording_texts" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "recording_texts_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"recording_id" text NOT NULL,
	"part" integer NOT NULL,
	"seq" bigint NOT NULL,
	"at_ms" bigint NOT NULL,
	"conn" text NOT NULL,
	"kind" text NOT NULL,
	"text" text NOT NULL,
	"words" "tsvector" NOT NULL
);
--> statement-breakpoint
ALTER TABLE "recording_indexes" ADD CONSTRAINT "recording_indexes_recording_id_recordings_id_fk" FOREIGN KEY ("recording_id") REFERENCES "public"."recordings"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "recording_texts" ADD CONSTRAINT "recording_texts_recording_id_recordings_id_fk" FOREIGN KEY ("recording_id") REFERENCES "public"."recordings"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "recording_texts_event" ON "recording_texts" USING btree ("recording_id","part","seq");--> statement-breakpoint
CREATE INDEX "recording_texts_words" ON "recording_texts" USING gin ("words");