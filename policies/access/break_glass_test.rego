package sallyport.access_test

import data.sallyport.access

emergency(groups, reason) := {
	"stage": "request",
	"role": "break-glass",
	"subject": {"kind": "person", "groups": groups},
	"resource": {"name": "db", "labels": {"env": "production"}},
	"request": {"duration_s": 900, "reason": reason, "ticket_ref": null},
	"time": {"weekday": "Sun", "minute_of_day": 180, "zone": "UTC"},
}

why := "checkout is down, restarting the queue"

broken(q) := r if {
	r := access.result with input as q with data.roles as {"on-call": {"break-glass": [{"names": ["db"], "max_s": 1800}]}}
}

test_who_is_on_call_breaks_the_glass_at_night_without_a_ticket if {
	r := broken(emergency(["on-call"], why))
	r.effect == "allow"
	rules(r) == {"access.break-glass"}
	r.grant.max_s == 1800
}

test_nobody_else_does if broken(emergency(["engineers", "dbas", "security-admins"], why)).effect == "deny"

test_the_glass_is_broken_with_a_reason if {
	every reason in ["", "incident", "                         "] {
		r := broken(emergency(["on-call"], reason))
		r.effect == "deny"
		rules(r) == {"access.break-glass-reason"}
	}
}

test_there_is_no_ticket_to_hand_out_where_nobody_said_why if {
	every stage in ["ticket", "connect", "live"] {
		q := object.union(emergency(["on-call"], why), {"stage": stage, "request": null})
		broken(q).effect == "deny"
	}
}

test_it_is_short if {
	r := broken(object.union(emergency(["on-call"], why), {"request": {"duration_s": 3600}}))
	r.effect == "deny"
	rules(r) == {"access.too-long"}
}

test_every_broken_glass_is_looked_at_within_a_day if {
	r := broken(emergency(["on-call"], why))
	r.grant.review == {"reviewers": ["dbas", "security-admins"], "due_s": 86400, "channel": "db-approvals"}
}

test_it_is_looked_at_whatever_is_asked_for_later if {
	every stage in ["ticket", "connect", "live"] {
		broken(object.union(emergency(["on-call"], why), {"stage": stage})).grant.review
	}
}

test_what_others_approved_is_not_looked_at_again if {
	r := access.result with input as question(["engineers"], "admin") with data.roles as roles
	not r.grant.review
}
