-- A past day is kept still while it is looked at, and dropped with all that it holds where nothing needs it any more. Both are
-- called in the transaction that writes the receipt; what may be deleted at all is what rows may be (grants.ts), checked again.
CREATE FUNCTION "decision_days"."hold_still"(d date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
declare
	name text := 'd' || to_char(d, 'YYYYMMDD');
begin
	if d >= (clock_timestamp() at time zone 'UTC')::date - 2 or to_regclass('decision_days.' || name) is null then return false; end if;
	execute format('lock table decision_days.%I in share row exclusive mode', name);
	return true;
end $$;--> statement-breakpoint
CREATE FUNCTION "decision_days"."drop_day"(d date) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
declare
	name text := 'd' || to_char(d, 'YYYYMMDD');
	held bigint;
	dropped bigint;
begin
	if not decision_days.hold_still(d) then raise exception 'there is no past day %', d; end if;
	execute format('select count(*), count(*) filter (where batch is null or at_ms >= (extract(epoch from clock_timestamp()) * 1000)::bigint - 86400000) from decision_days.%I', name)
		into dropped, held;
	if held > 0 then raise exception '% decisions of % are too young to go, or not covered by the audit log', held, d; end if;
	execute format('drop table decision_days.%I', name);
	return dropped;
end $$;--> statement-breakpoint
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA "decision_days" FROM PUBLIC;
