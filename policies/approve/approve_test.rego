package sallyport.approve_test

import data.sallyport.approve

person(id, groups) := {"id": id, "kind": "person", "groups": groups}

question(subject) := {
	"subject": subject,
	"requester": {"id": "sub_eng", "on_behalf_of": "sub_boss"},
	"approvers": ["dbas", "sub_named"],
	"votes": [{"approver": "sub_voted"}],
}

test_somebody_else_is_denied if {
	r := approve.result with input as question(person("sub_x", ["engineers"]))
	r.effect == "deny"
}

test_a_member_of_an_approving_group_is_allowed if {
	r := approve.result with input as question(person("sub_dba", ["dbas"]))
	r.effect == "allow"
}

test_a_named_approver_is_allowed if {
	r := approve.result with input as question(person("sub_named", []))
	r.effect == "allow"
}

test_a_machine_approves_nothing if {
	r := approve.result with input as question({"id": "sub_named", "kind": "machine", "groups": ["dbas"]})
	r.effect == "deny"
}

test_nobody_approves_their_own_request if {
	r := approve.result with input as question(person("sub_eng", ["dbas"]))
	r.effect == "deny"
	{x.rule | some x in r.reasons} == {"approve.own"}
}

test_nobody_approves_what_is_asked_on_their_behalf if {
	r := approve.result with input as question(person("sub_boss", ["dbas"]))
	r.effect == "deny"
}

test_nobody_votes_twice if {
	r := approve.result with input as question(person("sub_voted", ["dbas"]))
	r.effect == "deny"
	{x.rule | some x in r.reasons} == {"approve.once"}
}

test_an_empty_list_means_nobody if {
	r := approve.result with input as object.union(question(person("sub_dba", ["dbas"])), {"approvers": []})
	r.effect == "deny"
}

reviewing(subject, answer) := object.union(question(subject), {"answer": answer})

test_a_reviewer_accepts_or_flags if {
	every answer in ["accept", "flag"] {
		r := approve.result with input as reviewing(person("sub_dba", ["dbas"]), answer)
		r.effect == "allow"
	}
}

test_nobody_reviews_what_they_did if {
	every id in ["sub_eng", "sub_boss"] {
		r := approve.result with input as reviewing(person(id, ["dbas"]), "accept")
		{x.rule | some x in r.reasons} == {"approve.own"}
	}
}

test_who_approved_it_does_not_review_it if {
	r := approve.result with input as reviewing(person("sub_voted", ["dbas"]), "accept")
	r.effect == "deny"
}

test_a_machine_reviews_nothing if {
	r := approve.result with input as reviewing({"id": "sub_named", "kind": "machine", "groups": ["dbas"]}, "accept")
	r.effect == "deny"
}
