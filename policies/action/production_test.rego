package sallyport.action_test

import data.sallyport.action

in_production(question) := object.union(question, {"resource": {"labels": {"env": "production"}}})

asked(question) := rules if {
	r := action.result with input as question
	r.effect == "ask"
	r.approval.stages[0].quorum == 1
	rules := {x.rule | some x in r.reasons}
}

of_kind(role, verb, kind, facts) := in_production(with_facts(role, verb, {"kind": kind, "facts": facts}))

test_a_truncate_in_production_waits_for_a_second_person if {
	asked(of_kind("admin", "ddl", "truncate", {})) == {"action.production-drops"}
}

test_a_drop_in_production_waits_for_a_second_person if {
	asked(of_kind("admin", "ddl", "drop_table", {})) == {"action.production-drops"}
}

test_a_delete_of_every_row_in_production_waits if {
	asked(of_kind("writer", "write", "delete", {"unfiltered": true})) == {"action.production-every-row"}
}

test_a_delete_with_a_where_does_not_wait if effect(of_kind("writer", "write", "delete", {})) == "allow"

test_elsewhere_nothing_waits if {
	q := with_facts("admin", "ddl", {"kind": "truncate", "facts": {}})
	effect(object.union(q, {"resource": {"labels": {"env": "staging"}}})) == "allow"
}

test_nobody_approves_what_nobody_may_do if {
	fired(of_kind("reader", "write", "delete", {"unfiltered": true})) == {"action.reader-write"}
	fired(of_kind("owner", "ddl", "drop_table", {})) == {"action.default"}
}

test_who_broke_the_glass_does_not_wait if effect(of_kind("break-glass", "ddl", "drop_table", {})) == "allow"

test_a_command_that_stops_a_server_in_production_waits if {
	asked(in_production(command("root", "/sbin/reboot"))) == {"action.production-stops"}
}

test_another_command_in_production_does_not_wait if effect(in_production(command("root", "uptime"))) == "allow"
