package sallyport.access_test

import data.sallyport.access

everywhere := {
	"engineers": {
		"reader": [{"names": ["prod", "dev"], "max_s": 28800}],
		"writer": [{"names": ["prod", "dev"], "max_s": 3600}],
		"admin": [{"names": ["prod"], "max_s": 1800}],
	},
	"dbas": {"reader": [{"names": ["prod"], "max_s": 28800}]},
}

monday_at(minute) := {"weekday": "Mon", "minute_of_day": minute, "zone": "Europe/Zurich"}

# A request for production as it should be: with a ticket, on a Monday at ten.
change(groups, role) := object.union(on_production(groups, role), {
	"request": {"duration_s": 1800, "ticket_ref": "OPS-4711", "reason": "deploy the fix"},
	"time": monday_at(600),
})

asked(q) := r if r := access.result with input as q with data.roles as everywhere

test_production_is_asked_for_with_a_ticket_in_office_hours if asked(change(["engineers"], "writer")).effect == "ask"

test_production_without_a_ticket_is_denied if {
	every ticket in [null, "", "ops-1", "4711", "OPS-4711; drop table"] {
		r := asked(object.union(change(["engineers"], "reader"), {"request": {"ticket_ref": ticket}}))
		r.effect == "deny"
		rules(r) == {"access.production-ticket"}
	}
}

test_a_grant_is_not_ended_by_a_missing_ticket if {
	every stage in ["ticket", "connect", "live"] {
		q := object.union(change(["engineers"], "writer"), {"stage": stage, "request": {"ticket_ref": null}})
		asked(q).effect == "ask"
	}
}

test_changes_to_production_begin_in_office_hours if {
	every stage in ["request", "ticket", "connect"] {
		r := asked(object.union(change(["engineers"], "writer"), {"stage": stage, "time": monday_at(1200)}))
		r.effect == "deny"
		rules(r) == {"access.production-hours"}
	}
}

test_a_live_session_goes_on_after_hours if {
	asked(object.union(change(["engineers"], "writer"), {"stage": "live", "time": monday_at(1200)})).effect == "ask"
}

test_readers_come_at_any_hour if {
	asked(object.union(change(["engineers"], "reader"), {"time": monday_at(1200)})).effect == "ask"
}

test_administration_of_production_takes_two_stages_too if {
	count(asked(change(["engineers"], "admin")).approval.stages) == 2
}

test_nobody_has_standing_access_to_production if {
	r := asked(change(["dbas"], "reader"))
	r.effect == "ask"
	not "access.dba-standing" in rules(r)
}

test_in_development_nobody_is_asked if {
	there := {"resource": {"name": "dev", "labels": {"env": "development"}}}
	r := asked(object.union(question(["engineers"], "writer"), there))
	r.effect == "allow"
	rules(r) == {"access.development"}
}

test_in_development_too_a_role_comes_from_a_group if {
	there := {"resource": {"name": "dev", "labels": {"env": "development"}}}
	asked(object.union(question(["strangers"], "writer"), there)).effect == "deny"
}
