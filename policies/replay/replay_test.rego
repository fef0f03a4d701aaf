package sallyport.replay_test

import data.sallyport.replay

question(groups, own, verb, view) := {"subject": {"groups": groups}, "own": own, "verb": verb, "view": view}

effect(q) := r.effect if r := replay.result with input as q

test_auditors_watch_everything if {
	every verb in {"open", "download", "export"} {
		effect(question(["auditors"], false, verb, "masked")) == "allow"
	}
}

test_security_admins_watch_everything if effect(question(["security-admins"], false, "open", "masked")) == "allow"

test_people_watch_their_own if effect(question(["engineers"], true, "open", "masked")) == "allow"

test_people_do_not_take_their_own_away if effect(question(["engineers"], true, "export", "masked")) == "deny"

test_people_do_not_watch_others if effect(question(["engineers", "dbas"], false, "open", "masked")) == "deny"

clear(groups, own, reason) := object.union(question(groups, own, "open", "clear"), {"reason": reason})

test_security_admins_see_clear_with_a_reason if {
	r := replay.result with input as clear(["security-admins"], false, "incident 4711: what was typed")
	r.effect == "allow"
	r.view == "clear"
}

test_nobody_sees_clear_without_a_reason if {
	every reason in [null, "", "because", "            "] {
		effect(clear(["security-admins"], false, reason)) == "deny"
	}
}

test_nobody_else_sees_clear if {
	every groups in [["auditors"], ["engineers"], ["dbas"]] {
		effect(clear(groups, false, "incident 4711: what was typed")) == "deny"
	}
}

test_nobody_sees_their_own_in_clear if {
	effect(clear(["security-admins"], true, "incident 4711: what was typed")) == "deny"
}

test_the_view_is_masked if {
	r := replay.result with input as question(["auditors"], false, "open", "masked")
	r.view == "masked"
}

broken(groups, verb, view) := object.union(question(groups, false, verb, view), {"recording": {"role": "break-glass"}})

test_dbas_review_a_broken_glass if effect(broken(["dbas"], "open", "masked")) == "allow"

test_dbas_take_no_review_away_and_see_no_originals if {
	effect(broken(["dbas"], "download", "masked")) == "deny"
	effect(broken(["dbas"], "open", "clear")) == "deny"
}

test_engineers_review_nothing if effect(broken(["engineers"], "open", "masked")) == "deny"
