CREATE TABLE "reviews" (
	"id" text PRIMARY KEY NOT NULL,
	"grant_id" text NOT NULL,
	"request_id" text NOT NULL,
	"subject_id" text NOT NULL,
	"reviewers" jsonb NOT NULL,
	"channel" text NOT NULL,
	"decision_id" text NOT NULL,
	"opened_at" timestamp with time zone DEFAULT now() NOT NULL,
	"due_at" timestamp with time zone NOT NULL,
	"overdue_at" timestamp with time zone,
	"answer" text,
	"answered_at" timestamp with time zone,
	"answered_by" text,
	"answer_reason" text,
	"answer_via" text,
	"answer_decision_id" text,
	CONSTRAINT "reviews_not_own" CHECK ("reviews"."answered_by" <> "reviews"."subject_id"),
	CONSTRAINT "reviews_answer" CHECK ("reviews"."answer" in ('accept','flag')),
	CONSTRAINT "reviews_answered" CHECK (num_nulls("reviews"."answer", "reviews"."answered_at", "reviews"."answered_by", "reviews"."answer_reason", "reviews"."answer_via", "reviews"."answer_decision_id") in (0, 6))
);
--> statement-breakpoint
ALTER TABLE "reviews" ADD CONSTRAINT "reviews_grant_id_grants_id_fk" FOREIGN KEY ("grant_id") REFERENCES "public"."grants"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "reviews" ADD CONSTRAINT "reviews_decision_id_decisions_id_fk" FOREIGN KEY ("decision_id") REFERENCES "public"."decisions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "reviews" ADD CONSTRAINT "reviews_answered_by_subjects_id_fk" FOREIGN KEY ("answered_by") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "reviews" ADD CONSTRAINT "reviews_answer_decision_id_decisions_id_fk" FOREIGN KEY ("answer_decision_id") REFERENCES "public"."decisions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "reviews" ADD CONSTRAINT "reviews_of_request" FOREIGN KEY ("request_id","subject_id") REFERENCES "public"."requests"("id","subject_id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "reviews_grant_id_index" ON "reviews" USING btree ("grant_id");--> statement-breakpoint
CREATE UNIQUE INDEX "reviews_request_id_index" ON "reviews" USING btree ("request_id");--> statement-breakpoint
CREATE INDEX "reviews_open" ON "reviews" USING btree ("due_at") WHERE answered_at is null;--> statement-breakpoint
CREATE INDEX "reviews_decision_id_index" ON "reviews" USING btree ("decision_id");--> statement-breakpoint
CREATE INDEX "reviews_answer_decision_id_index" ON "reviews" USING btree ("answer_decision_id");