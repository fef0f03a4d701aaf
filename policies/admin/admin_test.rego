package sallyport.admin_test

import data.sallyport.admin

question(groups, call, own) := {"subject": {"kind": "person", "groups": groups}, "call": call, "own": own}

effect(q) := r.effect if r := admin.result with input as q

test_everybody_learns_who_they_are if effect(question([], "me", false)) == "allow"

test_an_unknown_call_is_denied_to_everybody if {
	every groups in [[], ["engineers"], ["dbas"], ["auditors"], ["security-admins"]] {
		effect(question(groups, "everything.delete", true)) == "deny"
	}
}

test_one_reads_ones_own_session if {
	effect(question(["engineers"], "sessions.read", true)) == "allow"
	effect(question(["engineers"], "sessions.read", false)) == "deny"
}

test_auditors_read if {
	every call in {"sessions.list", "decisions.read", "audit.list", "audit.prove", "policy.status"} {
		effect(question(["auditors"], call, false)) == "allow"
	}
}

test_the_whole_decision_log_is_for_auditors if {
	effect(question(["auditors"], "decisions.export", false)) == "allow"
	effect(question(["security-admins"], "decisions.export", false)) == "allow"
	effect(question(["engineers"], "decisions.export", true)) == "deny"
}

test_everybody_asks_what_they_could_get if effect(question([], "access.can_i", true)) == "allow"

test_what_applies_to_others_is_for_auditors if {
	every call in {"policy.plan", "decisions.explain"} {
		effect(question(["auditors"], call, false)) == "allow"
		effect(question(["engineers"], call, false)) == "deny"
	}
	effect(question(["engineers"], "decisions.explain", true)) == "allow"
	effect(question(["engineers"], "policy.plan", true)) == "deny"
}

test_a_second_person_confirms_as_a_person if {
	every group in {"auditors", "security-admins"} {
		every call in {"proposals.confirm", "proposals.refuse"} {
			effect(question([group], call, false)) == "allow"
			effect(object.union(question([group], call, false), {"subject": {"kind": "machine"}})) == "deny"
		}
	}
	effect(question(["engineers", "dbas"], "proposals.confirm", true)) == "deny"
}

test_only_security_admins_propose if {
	every call in {"erasures.preview", "erasures.propose", "retention.floor"} {
		effect(question(["security-admins"], call, false)) == "allow"
		effect(question(["auditors", "engineers", "dbas"], call, true)) == "deny"
	}
}

test_auditors_see_what_would_go if {
	every call in {"proposals.list", "retention.preview", "retention.read"} {
		effect(question(["auditors"], call, false)) == "allow"
		effect(question(["engineers"], call, true)) == "deny"
	}
}

test_auditors_change_nothing if {
	every call in {"grants.revoke", "tokens.issue", "holds.set", "sessions.end"} {
		effect(question(["auditors"], call, false)) == "deny"
	}
}

test_security_admins_act_and_read if {
	every call in {"grants.revoke", "tokens.issue", "holds.set", "policy.status", "audit.list"} {
		effect(question(["security-admins"], call, false)) == "allow"
	}
}

test_only_security_admins_steer_the_policy if {
	every call in {"policy.pin", "policy.rollback", "policy.unpin"} {
		effect(question(["security-admins"], call, false)) == "allow"
		effect(question(["engineers", "dbas", "auditors"], call, true)) == "deny"
	}
	every call in {"policy.history", "policy.sources"} {
		effect(question(["auditors"], call, false)) == "allow"
		effect(question(["engineers", "dbas"], call, true)) == "deny"
	}
}

test_approvers_read_the_requests_they_decide if {
	every call in {"requests.read", "reviews.read"} {
		effect(question(["dbas"], call, false)) == "allow"
		effect(question(["release-managers"], call, false)) == "allow"
		effect(question(["engineers"], call, false)) == "deny"
	}
}

test_a_machine_lists_resources if {
	effect({"subject": {"kind": "machine", "groups": []}, "call": "resources.list", "own": false}) == "allow"
}

test_only_the_program_reaps if {
	effect(question(["security-admins"], "lease.reap", true)) == "deny"
	effect({"subject": {"kind": "system", "groups": []}, "call": "lease.reap", "own": false}) == "allow"
}

test_the_program_is_nobody if {
	effect({"subject": {"kind": "system", "groups": []}, "call": "me", "own": true}) == "deny"
	effect({"subject": {"kind": "system", "groups": []}, "call": "sessions.read", "own": true}) == "deny"
}

test_lists_show_everybodys_only_to_auditors if {
	every call in {"requests.list", "grants.list", "sessions.list", "decisions.list", "recordings.list", "reviews.list", "tokens.list"} {
		effect(question(["engineers", "dbas"], call, true)) == "allow"
		effect(question(["engineers", "dbas"], call, false)) == "deny"
	}
}

test_people_make_tokens_for_themselves_but_not_with_a_token if {
	person := {"kind": "person", "groups": ["engineers"], "token": null}
	effect({"subject": person, "call": "tokens.issue", "own": true}) == "allow"
	effect({"subject": person, "call": "tokens.issue", "own": false}) == "deny"
	with_token := object.union(person, {"token": {"id": "tok_1", "scopes": ["*"]}})
	effect({"subject": with_token, "call": "tokens.issue", "own": true}) == "deny"
	machine := object.union(person, {"kind": "machine"})
	effect({"subject": machine, "call": "tokens.issue", "own": true}) == "deny"
}
