ALTER TABLE "holds" ADD COLUMN "unused" text;--> statement-breakpoint
CREATE INDEX "requests_released" ON "requests" USING btree ("expires_at") WHERE kind = 'hold' and state = 'approved';--> statement-breakpoint
-- What waits and who asks for it are written in one transaction, the first before the second, so that the row rule of the
-- second can look for the first; at its end both are there, or none.
ALTER TABLE "holds" ALTER CONSTRAINT "holds_request_id_requests_id_fk" DEFERRABLE INITIALLY DEFERRED;--> statement-breakpoint
-- INVARIANT: what became of a hold is said once, and only what is approved is released, while its session lives and under a
-- grant that covers this instant and was given for the same person: also by a gateway that was taken over.
CREATE FUNCTION "holds_once"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
begin
	if (old.released_at is not null and new.released_at is distinct from old.released_at)
		or (old.unused is not null and new.unused is distinct from old.unused) then
		raise exception 'what became of an action that waited is said once' using errcode = 'insufficient_privilege';
	end if;
	if old.released_at is null and new.released_at is not null and (old.unused is not null or not exists (
		select from requests r, sessions s join grants g on g.id = s.grant_id join requests asked on asked.id = g.request_id
		where r.id = new.request_id and r.kind = 'hold' and r.state = 'approved'
			and s.id = new.session_id and s.ended_at is null and s.ends_at > clock_timestamp()
			and g.ended_at is null and g.revoked_at is null and g.ends_at > clock_timestamp()
			and asked.on_behalf_of is not distinct from r.on_behalf_of)) then
		raise exception 'only what is approved goes on, while its session and its grant last' using errcode = 'insufficient_privilege';
	end if;
	return new;
end
$$;--> statement-breakpoint
REVOKE ALL ON FUNCTION "holds_once"() FROM PUBLIC;--> statement-breakpoint
CREATE TRIGGER "holds_once" BEFORE UPDATE OF "released_at", "unused" ON "holds" FOR EACH ROW EXECUTE FUNCTION "holds_once"();
