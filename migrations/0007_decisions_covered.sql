DROP INDEX "decisions_unbatched";--> statement-breakpoint
CREATE INDEX "decisions_unbatched" ON "decisions" USING btree ("at_ms") WHERE batch is null;