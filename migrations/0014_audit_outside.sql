CREATE TABLE "audit_cosignatures" (
	"size" bigint NOT NULL,
	"witness" text NOT NULL,
	"line" text NOT NULL,
	CONSTRAINT "audit_cosignatures_size_witness_pk" PRIMARY KEY("size","witness")
);
--> statement-breakpoint
CREATE TABLE "audit_outside" (
	"name" text PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"size" bigint DEFAULT 0 NOT NULL,
	"statements" bigint DEFAULT 0 NOT NULL,
	"at" timestamp with time zone,
	"failing_since" timestamp with time zone,
	"alarmed_at" timestamp with time zone,
	"last_error" text,
	"refused" text,
	"leased_by" text,
	"leased_until" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "audit_statements" (
	"number" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "audit_statements_number_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"kind" text NOT NULL,
	"note" text NOT NULL,
	"copied" boolean DEFAULT false NOT NULL
);
