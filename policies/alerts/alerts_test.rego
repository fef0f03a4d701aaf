package sallyport.alerts_test

import data.sallyport.alerts

window(name, count) := {"window_s": 60, "counts": [{"name": name, "labels": {}, "count": count}]}

raised(q) := rules if {
	r := alerts.result with input as q
	rules := {a.rule | some a in r.alerts}
}

test_a_quiet_window_raises_nothing if raised(window("session.opened", 500)) == set()

test_a_few_wrong_tickets_are_usual if raised(window("ticket.refused", 20)) == set()

test_many_wrong_tickets_raise if raised(window("ticket.refused", 21)) == {"alerts.tickets-refused"}

test_a_policy_fault_raises if raised(window("policy.fault", 1)) == {"alerts.policy-faults"}

test_a_gap_raises if raised(window("recording.interrupted", 1)) == {"alerts.recording-interrupted"}

test_the_summary_says_how_many if {
	r := alerts.result with input as window("ticket.refused", 33)
	{a.summary | some a in r.alerts} == {"33 tickets were refused in 60 s"}
}
