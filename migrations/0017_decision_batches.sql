CREATE TABLE "decision_batches" (
	"event" text PRIMARY KEY NOT NULL,
	"hashes" "bytea" NOT NULL
);
