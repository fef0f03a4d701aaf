package sallyport.access_test

import data.sallyport.access

roles := {
	"engineers": {
		"reader": [{"labels": {"env": "staging"}, "max_s": 28800}],
		"writer": [{"labels": {"env": "staging"}, "max_s": 3600}],
		"admin": [{"names": ["db"], "max_s": 1800}],
	},
	"dbas": {"reader": [{"labels": {"env": "staging"}, "max_s": 7200}], "admin": [{"names": ["db"], "max_s": 3600}]},
	"nobody": {"reader": [{"labels": {}, "max_s": 60}]},
}

question(groups, role) := {
	"stage": "request",
	"role": role,
	"subject": {"groups": groups},
	"resource": {"name": "db", "labels": {"env": "staging"}},
	"request": {"duration_s": 1800},
}

on_production(groups, role) := object.union(
	question(groups, role),
	{"resource": {"name": "prod", "labels": {"env": "production"}}},
)

rules(result) := {reason.rule | some reason in result.reasons}

test_a_stranger_is_denied if {
	r := access.result with input as question([], "reader") with data.roles as roles
	r.effect == "deny"
	rules(r) == {"access.default"}
}

test_an_engineer_asks_a_dba_to_read if {
	r := access.result with input as question(["engineers"], "reader") with data.roles as roles
	r.effect == "ask"
	r.approval.stages == [{"approvers": ["dbas"], "quorum": 1, "channel": "db-approvals"}]
	r.grant.max_s == 28800
}

test_an_engineer_asks_a_dba_to_write_for_an_hour if {
	r := access.result with input as question(["engineers"], "writer") with data.roles as roles
	r.effect == "ask"
	rules(r) == {"access.dba-approves"}
	r.grant.max_s == 3600
}

test_admin_takes_two_stages if {
	r := access.result with input as question(["engineers"], "admin") with data.roles as roles
	r.effect == "ask"
	[stage.approvers | some stage in r.approval.stages] == [["dbas"], ["security-admins"]]
}

test_a_dba_who_wants_admin_asks_too if {
	r := access.result with input as question(["dbas"], "admin") with data.roles as roles
	r.effect == "ask"
	count(r.approval.stages) == 2
}

test_a_dba_reads_without_asking if {
	r := access.result with input as question(["dbas"], "reader") with data.roles as roles
	r.effect == "allow"
	rules(r) == {"access.dba-standing"}
	not r.approval
}

test_the_longest_of_several_groups_counts if {
	r := access.result with input as question(["dbas", "engineers"], "reader") with data.roles as roles
	r.grant.max_s == 28800
}

test_production_is_in_no_rule if {
	r := access.result with input as on_production(["engineers", "dbas"], "reader") with data.roles as roles
	r.effect == "deny"
}

test_a_dba_has_no_standing_access_to_production if {
	r := access.result with input as on_production(["dbas"], "reader") with data.roles as roles
	r.effect == "deny"
}

test_a_rule_without_labels_or_names_matches_nothing if {
	r := access.result with input as question(["nobody"], "reader") with data.roles as roles
	r.effect == "deny"
}

test_an_unknown_role_is_denied if {
	r := access.result with input as question(["engineers"], "owner") with data.roles as roles
	r.effect == "deny"
}

test_too_long_is_denied_with_the_longest_time if {
	long := object.union(question(["engineers"], "writer"), {"request": {"duration_s": 3601}})
	r := access.result with input as long with data.roles as roles
	r.effect == "deny"
	some reason in r.reasons
	reason.rule == "access.too-long"
	reason.remedy == "ask for 3600 s or less"
}

test_a_connection_under_a_grant_is_not_measured_again if {
	live := object.union(question(["engineers"], "writer"), {"stage": "connect", "request": {"duration_s": 9999}})
	r := access.result with input as live with data.roles as roles
	r.effect == "ask"
}

test_the_shop_is_open_to_engineers_by_the_data_of_this_repository if {
	shop := data.resources["shop-db"]
	asked := object.union(
		question(["engineers"], "reader"),
		{"resource": {"name": "shop-db", "labels": shop.labels}},
	)
	r := access.result with input as asked
	r.effect == "ask"
}
