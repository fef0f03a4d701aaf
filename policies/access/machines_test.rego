package sallyport.access_test

import data.sallyport.access

by_machine(q, person) := object.union(q, {"subject": {"kind": "machine", "on_behalf_of": person}})

test_a_machine_asks_like_everybody if {
	r := access.result with input as by_machine(question(["engineers"], "writer"), null) with data.roles as roles
	r.effect == "ask"
}

test_a_machine_does_not_administer if {
	every role in ["admin", "break-glass", "root"] {
		r := access.result with input as by_machine(question(["engineers"], role), "sub_boss") with data.roles as roles
		"access.machine-admin" in rules(r)
	}
}

test_a_machine_alone_changes_nothing_in_production if {
	r := asked(by_machine(change(["engineers"], "writer"), null))
	r.effect == "deny"
	rules(r) == {"access.machine-alone"}
}

test_a_machine_alone_reads_production if asked(by_machine(change(["engineers"], "reader"), null)).effect == "ask"

test_a_machine_acts_on_behalf_of_a_person if {
	asked(by_machine(change(["engineers"], "writer"), "sub_boss")).effect == "ask"
}
