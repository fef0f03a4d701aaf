CREATE TABLE "grants" (
	"id" text PRIMARY KEY NOT NULL,
	"request_id" text NOT NULL,
	"subject_id" text NOT NULL,
	"resource" text NOT NULL,
	"role" text NOT NULL,
	"starts_at" timestamp with time zone DEFAULT now() NOT NULL,
	"ends_at" timestamp with time zone NOT NULL,
	"decision_id" text NOT NULL,
	"revoked_at" timestamp with time zone,
	"revoked_by" text,
	"revoke_reason" text,
	"ended_at" timestamp with time zone,
	CONSTRAINT "grants_identity" UNIQUE("id","subject_id","resource","role"),
	CONSTRAINT "grants_revoked" CHECK (("grants"."revoked_at" is null) = ("grants"."revoked_by" is null) and ("grants"."revoked_at" is null or "grants"."ended_at" is not null)),
	CONSTRAINT "grants_interval" CHECK ("grants"."ends_at" > "grants"."starts_at")
);
--> statement-breakpoint
CREATE TABLE "requests" (
	"id" text PRIMARY KEY NOT NULL,
	"subject_id" text NOT NULL,
	"on_behalf_of" text,
	"resource" text NOT NULL,
	"role" text NOT NULL,
	"duration_s" bigint NOT NULL,
	"reason" text NOT NULL,
	"ticket_ref" text,
	"hash" text NOT NULL,
	"state" text DEFAULT 'pending' NOT NULL,
	"terms" jsonb,
	"decision_id" text NOT NULL,
	"via" text NOT NULL,
	"client" jsonb NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone,
	"ended_by" text,
	"outcome" text,
	CONSTRAINT "requests_identity" UNIQUE("id","subject_id","resource","role"),
	CONSTRAINT "requests_requester" UNIQUE("id","subject_id"),
	CONSTRAINT "requests_bounds" CHECK (length("requests"."reason") between 1 and 2000 and "requests"."duration_s" >= 60),
	CONSTRAINT "requests_state" CHECK ("requests"."state" in ('pending','approved','denied','expired','cancelled')),
	CONSTRAINT "requests_ended" CHECK (("requests"."state" = 'pending') = ("requests"."ended_at" is null))
);
--> statement-breakpoint
CREATE TABLE "votes" (
	"id" text PRIMARY KEY NOT NULL,
	"request_id" text NOT NULL,
	"request_hash" text NOT NULL,
	"requester_id" text NOT NULL,
	"approver_id" text NOT NULL,
	"groups" jsonb NOT NULL,
	"stage" integer NOT NULL,
	"answer" text NOT NULL,
	"via" text NOT NULL,
	"decision_id" text NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "votes_not_own" CHECK ("votes"."approver_id" <> "votes"."requester_id"),
	CONSTRAINT "votes_answer" CHECK ("votes"."answer" in ('approve','deny'))
);
--> statement-breakpoint
CREATE TABLE "audit_checkpoints" (
	"size" bigint PRIMARY KEY NOT NULL,
	"root" "bytea" NOT NULL,
	"note" text NOT NULL,
	"at_ms" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "audit_inbox" (
	"id" text PRIMARY KEY NOT NULL,
	"writer" text NOT NULL,
	"wseq" bigint NOT NULL,
	"at_ms" bigint NOT NULL,
	"type" text NOT NULL,
	"seq" bigint GENERATED ALWAYS AS IDENTITY (sequence name "audit_inbox_seq_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"body" text,
	"salt" "bytea",
	"leaf" text NOT NULL,
	"idx" bigint,
	"subject_id" text,
	"session_id" text,
	"resource" text
);
--> statement-breakpoint
CREATE TABLE "audit_state" (
	"id" integer PRIMARY KEY DEFAULT 1 NOT NULL,
	"epoch" bigint DEFAULT 0 NOT NULL,
	"size" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "audit_state_single" CHECK ("audit_state"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "audit_tiles" (
	"level" integer NOT NULL,
	"n" bigint NOT NULL,
	"width" integer NOT NULL,
	"hashes" "bytea" NOT NULL,
	CONSTRAINT "audit_tiles_level_n_pk" PRIMARY KEY("level","n")
);
--> statement-breakpoint
CREATE TABLE "audit_writers" (
	"writer" text PRIMARY KEY NOT NULL,
	"process" text NOT NULL,
	"wseq" bigint NOT NULL,
	"prev" text NOT NULL,
	"db_user" text DEFAULT current_user NOT NULL
);
--> statement-breakpoint
CREATE TABLE "processes" (
	"id" text PRIMARY KEY NOT NULL,
	"role" text NOT NULL,
	"host" text NOT NULL,
	"pid" bigint NOT NULL,
	"started_at" timestamp with time zone DEFAULT now() NOT NULL,
	"heartbeat_at" timestamp with time zone DEFAULT now() NOT NULL,
	"generation" bigint,
	"ready" text DEFAULT 'starting' NOT NULL,
	"facts" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"db_user" text DEFAULT current_user NOT NULL
);
--> statement-breakpoint
CREATE TABLE "api_tokens" (
	"id" text PRIMARY KEY NOT NULL,
	"subject_id" text NOT NULL,
	"name" text NOT NULL,
	"hash" "bytea" NOT NULL,
	"scopes" jsonb NOT NULL,
	"created_by" text NOT NULL,
	"issued_with" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"revoked_at" timestamp with time zone,
	"used_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "refresh_tokens" (
	"subject_id" text PRIMARY KEY NOT NULL,
	"sealed" "bytea" NOT NULL,
	"refreshed_at" timestamp with time zone DEFAULT now() NOT NULL,
	"next_at" timestamp with time zone DEFAULT now() NOT NULL,
	"failures" text
);
--> statement-breakpoint
CREATE TABLE "sign_ins" (
	"state_hash" "bytea" PRIMARY KEY NOT NULL,
	"sealed" "bytea" NOT NULL,
	"expires_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "slack_bindings" (
	"team_id" text NOT NULL,
	"user_id" text NOT NULL,
	"subject_id" text NOT NULL,
	"bound_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "slack_bindings_team_id_user_id_pk" PRIMARY KEY("team_id","user_id")
);
--> statement-breakpoint
CREATE TABLE "slack_link_codes" (
	"code_hash" "bytea" PRIMARY KEY NOT NULL,
	"subject_id" text NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"used_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "subjects" (
	"id" text PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"issuer" text NOT NULL,
	"subject" text NOT NULL,
	"name" text NOT NULL,
	"email" text,
	"email_verified" text DEFAULT 'no' NOT NULL,
	"groups" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"groups_at" timestamp with time zone DEFAULT now() NOT NULL,
	"claims" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"disabled_at" timestamp with time zone,
	"left_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "web_sessions" (
	"token_hash" "bytea" PRIMARY KEY NOT NULL,
	"subject_id" text NOT NULL,
	"kind" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"seen_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"user_agent" text
);
--> statement-breakpoint
CREATE TABLE "decisions" (
	"id" text PRIMARY KEY NOT NULL,
	"at_ms" bigint NOT NULL,
	"point" text NOT NULL,
	"effect" text NOT NULL,
	"code" text NOT NULL,
	"generation" bigint,
	"commit" text,
	"digest" text,
	"input_digest" text NOT NULL,
	"input" text NOT NULL,
	"result" text NOT NULL,
	"reasons" jsonb NOT NULL,
	"subject_id" text,
	"resource" text,
	"session_id" text,
	"request_id" text,
	"count" bigint DEFAULT 1 NOT NULL,
	"batch" text
);
--> statement-breakpoint
CREATE TABLE "revision_failures" (
	"id" text PRIMARY KEY NOT NULL,
	"commit" text NOT NULL,
	"problems" jsonb NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "revisions" (
	"generation" bigint PRIMARY KEY NOT NULL,
	"commit" text NOT NULL,
	"digest" text NOT NULL,
	"opa_version" text NOT NULL,
	"opts" bigint NOT NULL,
	"bundle" "bytea" NOT NULL,
	"rules" jsonb NOT NULL,
	"signature" "bytea" NOT NULL,
	"author" text NOT NULL,
	"subject_line" text NOT NULL,
	"activated_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "legal_holds" (
	"id" text PRIMARY KEY NOT NULL,
	"recording_id" text NOT NULL,
	"reason" text NOT NULL,
	"set_by" text NOT NULL,
	"set_at" timestamp with time zone DEFAULT now() NOT NULL,
	"lifted_by" text,
	"lifted_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "recording_keys" (
	"recording_id" text NOT NULL,
	"part" integer NOT NULL,
	"wrapped" "bytea",
	"destroyed_at" timestamp with time zone,
	CONSTRAINT "recording_keys_recording_id_part_pk" PRIMARY KEY("recording_id","part")
);
--> statement-breakpoint
CREATE TABLE "recording_parts" (
	"recording_id" text NOT NULL,
	"part" integer NOT NULL,
	"process_id" text NOT NULL,
	"spool" text NOT NULL,
	"started_at_ms" bigint NOT NULL,
	"part_id" text NOT NULL,
	"ended_at" timestamp with time zone,
	"ending" text,
	"end_reason" text,
	"last_seq" bigint,
	"gaps" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"tail_missing_from" bigint,
	CONSTRAINT "recording_parts_recording_id_part_pk" PRIMARY KEY("recording_id","part")
);
--> statement-breakpoint
CREATE TABLE "recording_segments" (
	"recording_id" text NOT NULL,
	"part" integer NOT NULL,
	"n" integer NOT NULL,
	"first_seq" bigint NOT NULL,
	"last_seq" bigint NOT NULL,
	"bytes" bigint NOT NULL,
	"hash" text NOT NULL,
	"prev" text NOT NULL,
	"key" text NOT NULL,
	"shipped_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "recording_segments_recording_id_part_n_pk" PRIMARY KEY("recording_id","part","n")
);
--> statement-breakpoint
CREATE TABLE "recordings" (
	"id" text PRIMARY KEY NOT NULL,
	"session_id" text NOT NULL,
	"subject_id" text NOT NULL,
	"subject_name" text NOT NULL,
	"resource" text NOT NULL,
	"labels" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"role" text NOT NULL,
	"protocol" text NOT NULL,
	"settings" jsonb NOT NULL,
	"decision_id" text NOT NULL,
	"started_at" timestamp with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp with time zone,
	"sealed_at" timestamp with time zone,
	"state" text DEFAULT 'open' NOT NULL,
	"seal" jsonb,
	"seal_hash" text,
	"bytes" bigint DEFAULT 0 NOT NULL,
	"receipt" jsonb,
	"deleted_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "connections" (
	"id" text PRIMARY KEY NOT NULL,
	"session_id" text NOT NULL,
	"process_id" text NOT NULL,
	"client_address" text NOT NULL,
	"client" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"opened_at" timestamp with time zone DEFAULT now() NOT NULL,
	"closed_at" timestamp with time zone,
	"close_reason" text
);
--> statement-breakpoint
CREATE TABLE "leases" (
	"id" text PRIMARY KEY NOT NULL,
	"session_id" text NOT NULL,
	"process_id" text NOT NULL,
	"resource" text NOT NULL,
	"protocol" text NOT NULL,
	"kind" text NOT NULL,
	"state" text NOT NULL,
	"facts" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"minted_at" timestamp with time zone,
	"reaped_at" timestamp with time zone,
	"attempts" integer DEFAULT 0 NOT NULL,
	"next_try_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_error" text
);
--> statement-breakpoint
CREATE TABLE "sessions" (
	"id" text PRIMARY KEY NOT NULL,
	"ticket_id" text NOT NULL,
	"grant_id" text NOT NULL,
	"subject_id" text NOT NULL,
	"resource" text NOT NULL,
	"role" text NOT NULL,
	"protocol" text NOT NULL,
	"decision_id" text NOT NULL,
	"opened_at" timestamp with time zone DEFAULT now() NOT NULL,
	"ends_at" timestamp with time zone NOT NULL,
	"idle_s" integer NOT NULL,
	"max_connections" integer NOT NULL,
	"last_connection_at" timestamp with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp with time zone,
	"end_code" text,
	"end_reason" text,
	CONSTRAINT "sessions_ended" CHECK (("sessions"."ended_at" is null) = ("sessions"."end_code" is null))
);
--> statement-breakpoint
CREATE TABLE "tickets" (
	"id" text PRIMARY KEY NOT NULL,
	"grant_id" text NOT NULL,
	"subject_id" text NOT NULL,
	"resource" text NOT NULL,
	"role" text NOT NULL,
	"protocol" text NOT NULL,
	"token" jsonb,
	"on_behalf_of" text,
	"sealed" "bytea" NOT NULL,
	"decision_id" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"unused_until" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone,
	CONSTRAINT "tickets_identity" UNIQUE("id","subject_id","resource","role")
);
--> statement-breakpoint
CREATE TABLE "slack_messages" (
	"request_id" text NOT NULL,
	"purpose" text NOT NULL,
	"channel" text NOT NULL,
	"ts" text,
	"state" text NOT NULL,
	"wanted" text NOT NULL,
	"shown" text,
	"attempts" integer DEFAULT 0 NOT NULL,
	"next_try_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_error" text,
	CONSTRAINT "slack_messages_request_id_purpose_pk" PRIMARY KEY("request_id","purpose")
);
--> statement-breakpoint
CREATE TABLE "slack_seen" (
	"signature" text PRIMARY KEY NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "grants" ADD CONSTRAINT "grants_request_id_requests_id_fk" FOREIGN KEY ("request_id") REFERENCES "public"."requests"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "grants" ADD CONSTRAINT "grants_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "grants" ADD CONSTRAINT "grants_decision_id_decisions_id_fk" FOREIGN KEY ("decision_id") REFERENCES "public"."decisions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "grants" ADD CONSTRAINT "grants_of_request" FOREIGN KEY ("request_id","subject_id","resource","role") REFERENCES "public"."requests"("id","subject_id","resource","role") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "requests" ADD CONSTRAINT "requests_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "requests" ADD CONSTRAINT "requests_decision_id_decisions_id_fk" FOREIGN KEY ("decision_id") REFERENCES "public"."decisions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "votes" ADD CONSTRAINT "votes_request_id_requests_id_fk" FOREIGN KEY ("request_id") REFERENCES "public"."requests"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "votes" ADD CONSTRAINT "votes_approver_id_subjects_id_fk" FOREIGN KEY ("approver_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "votes" ADD CONSTRAINT "votes_decision_id_decisions_id_fk" FOREIGN KEY ("decision_id") REFERENCES "public"."decisions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "votes" ADD CONSTRAINT "votes_requester" FOREIGN KEY ("request_id","requester_id") REFERENCES "public"."requests"("id","subject_id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_tokens" ADD CONSTRAINT "api_tokens_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "refresh_tokens" ADD CONSTRAINT "refresh_tokens_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "slack_bindings" ADD CONSTRAINT "slack_bindings_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "slack_link_codes" ADD CONSTRAINT "slack_link_codes_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "web_sessions" ADD CONSTRAINT "web_sessions_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "decisions" ADD CONSTRAINT "decisions_generation_revisions_generation_fk" FOREIGN KEY ("generation") REFERENCES "public"."revisions"("generation") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "legal_holds" ADD CONSTRAINT "legal_holds_recording_id_recordings_id_fk" FOREIGN KEY ("recording_id") REFERENCES "public"."recordings"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "recording_parts" ADD CONSTRAINT "recording_parts_recording_id_recordings_id_fk" FOREIGN KEY ("recording_id") REFERENCES "public"."recordings"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "connections" ADD CONSTRAINT "connections_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "leases" ADD CONSTRAINT "leases_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_ticket_id_tickets_id_fk" FOREIGN KEY ("ticket_id") REFERENCES "public"."tickets"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_grant_id_grants_id_fk" FOREIGN KEY ("grant_id") REFERENCES "public"."grants"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_decision_id_decisions_id_fk" FOREIGN KEY ("decision_id") REFERENCES "public"."decisions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_of_ticket" FOREIGN KEY ("ticket_id","subject_id","resource","role") REFERENCES "public"."tickets"("id","subject_id","resource","role") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_of_grant" FOREIGN KEY ("grant_id","subject_id","resource","role") REFERENCES "public"."grants"("id","subject_id","resource","role") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "tickets" ADD CONSTRAINT "tickets_grant_id_grants_id_fk" FOREIGN KEY ("grant_id") REFERENCES "public"."grants"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "tickets" ADD CONSTRAINT "tickets_subject_id_subjects_id_fk" FOREIGN KEY ("subject_id") REFERENCES "public"."subjects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "tickets" ADD CONSTRAINT "tickets_decision_id_decisions_id_fk" FOREIGN KEY ("decision_id") REFERENCES "public"."decisions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "tickets" ADD CONSTRAINT "tickets_of_grant" FOREIGN KEY ("grant_id","subject_id","resource","role") REFERENCES "public"."grants"("id","subject_id","resource","role") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "slack_messages" ADD CONSTRAINT "slack_messages_request_id_requests_id_fk" FOREIGN KEY ("request_id") REFERENCES "public"."requests"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "grants_request_id_index" ON "grants" USING btree ("request_id");--> statement-breakpoint
CREATE INDEX "grants_open" ON "grants" USING btree ("ends_at") WHERE ended_at is null;--> statement-breakpoint
CREATE INDEX "grants_subject_id_resource_role_ends_at_index" ON "grants" USING btree ("subject_id","resource","role","ends_at");--> statement-breakpoint
CREATE INDEX "requests_state_expires_at_index" ON "requests" USING btree ("state","expires_at");--> statement-breakpoint
CREATE INDEX "requests_subject_id_id_index" ON "requests" USING btree ("subject_id","id");--> statement-breakpoint
CREATE UNIQUE INDEX "votes_one_a_person" ON "votes" USING btree ("request_id","approver_id");--> statement-breakpoint
CREATE UNIQUE INDEX "audit_inbox_writer_wseq_index" ON "audit_inbox" USING btree ("writer","wseq");--> statement-breakpoint
CREATE UNIQUE INDEX "audit_inbox_idx" ON "audit_inbox" USING btree ("idx") WHERE idx is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "audit_inbox_seq_index" ON "audit_inbox" USING btree ("seq");--> statement-breakpoint
CREATE INDEX "audit_inbox_waiting" ON "audit_inbox" USING btree ("seq") WHERE idx is null;--> statement-breakpoint
CREATE INDEX "audit_inbox_type_at_ms_index" ON "audit_inbox" USING btree ("type","at_ms");--> statement-breakpoint
CREATE INDEX "audit_inbox_session" ON "audit_inbox" USING btree ("session_id") WHERE session_id is not null;--> statement-breakpoint
CREATE INDEX "audit_inbox_subject" ON "audit_inbox" USING btree ("subject_id") WHERE subject_id is not null;--> statement-breakpoint
CREATE INDEX "audit_writers_process_index" ON "audit_writers" USING btree ("process");--> statement-breakpoint
CREATE INDEX "processes_heartbeat_at_index" ON "processes" USING btree ("heartbeat_at");--> statement-breakpoint
CREATE INDEX "api_tokens_subject_id_index" ON "api_tokens" USING btree ("subject_id");--> statement-breakpoint
CREATE INDEX "api_tokens_issued_with_index" ON "api_tokens" USING btree ("issued_with");--> statement-breakpoint
CREATE UNIQUE INDEX "slack_bindings_subject_id_index" ON "slack_bindings" USING btree ("subject_id");--> statement-breakpoint
CREATE UNIQUE INDEX "subjects_issuer_subject_index" ON "subjects" USING btree ("issuer","subject");--> statement-breakpoint
CREATE INDEX "web_sessions_subject_id_index" ON "web_sessions" USING btree ("subject_id");--> statement-breakpoint
CREATE INDEX "web_sessions_expires_at_index" ON "web_sessions" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "decisions_at_ms_index" ON "decisions" USING btree ("at_ms");--> statement-breakpoint
CREATE INDEX "decisions_subject_id_at_ms_index" ON "decisions" USING btree ("subject_id","at_ms");--> statement-breakpoint
CREATE INDEX "decisions_session_id_index" ON "decisions" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "decisions_unbatched" ON "decisions" USING btree ("at_ms") WHERE batch is null and point = 'action';--> statement-breakpoint
CREATE INDEX "revision_failures_at_index" ON "revision_failures" USING btree ("at");--> statement-breakpoint
CREATE INDEX "legal_holds_recording_id_index" ON "legal_holds" USING btree ("recording_id");--> statement-breakpoint
CREATE UNIQUE INDEX "recording_parts_part_id_index" ON "recording_parts" USING btree ("part_id");--> statement-breakpoint
CREATE INDEX "recording_parts_open" ON "recording_parts" USING btree ("process_id") WHERE ended_at is null;--> statement-breakpoint
CREATE UNIQUE INDEX "recordings_session_id_index" ON "recordings" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "recordings_state_sealed_at_index" ON "recordings" USING btree ("state","sealed_at");--> statement-breakpoint
CREATE INDEX "recordings_subject_id_index" ON "recordings" USING btree ("subject_id");--> statement-breakpoint
CREATE INDEX "connections_session_id_index" ON "connections" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "connections_open" ON "connections" USING btree ("process_id") WHERE closed_at is null;--> statement-breakpoint
CREATE UNIQUE INDEX "leases_one_a_process" ON "leases" USING btree ("session_id","process_id") WHERE state in ('minting', 'minted');--> statement-breakpoint
CREATE INDEX "leases_open" ON "leases" USING btree ("state","next_try_at") WHERE state <> 'reaped';--> statement-breakpoint
CREATE UNIQUE INDEX "sessions_ticket_id_index" ON "sessions" USING btree ("ticket_id");--> statement-breakpoint
CREATE INDEX "sessions_opened_at_id_index" ON "sessions" USING btree ("opened_at","id");--> statement-breakpoint
CREATE INDEX "sessions_live" ON "sessions" USING btree ("ends_at") WHERE ended_at is null;--> statement-breakpoint
CREATE INDEX "sessions_subject_id_index" ON "sessions" USING btree ("subject_id");--> statement-breakpoint
CREATE INDEX "sessions_grant_id_index" ON "sessions" USING btree ("grant_id");--> statement-breakpoint
CREATE INDEX "tickets_grant_id_index" ON "tickets" USING btree ("grant_id");--> statement-breakpoint
CREATE INDEX "tickets_open" ON "tickets" USING btree ("unused_until") WHERE ended_at is null;--> statement-breakpoint
CREATE INDEX "slack_messages_due" ON "slack_messages" USING btree ("next_try_at") WHERE shown is distinct from wanted;