ALTER TABLE "refresh_tokens" ADD COLUMN "unanswered_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "subjects" ADD COLUMN "sign_in_again_at" timestamp with time zone;--> statement-breakpoint
CREATE INDEX "grants_decision_id_index" ON "grants" USING btree ("decision_id");--> statement-breakpoint
CREATE INDEX "requests_decision_id_index" ON "requests" USING btree ("decision_id");--> statement-breakpoint
CREATE INDEX "votes_decision_id_index" ON "votes" USING btree ("decision_id");--> statement-breakpoint
CREATE INDEX "leases_session_id_index" ON "leases" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "sessions_decision_id_index" ON "sessions" USING btree ("decision_id");--> statement-breakpoint
CREATE INDEX "sessions_ended_at_index" ON "sessions" USING btree ("ended_at");--> statement-breakpoint
CREATE INDEX "tickets_decision_id_index" ON "tickets" USING btree ("decision_id");