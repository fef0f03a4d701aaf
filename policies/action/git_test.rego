package sallyport.action_test

import data.sallyport.action

on_git(role, kind, verb, facts) := {
	"role": role,
	"resource": {"labels": {"env": "staging"}},
	"action": {
		"protocol": "git",
		"kind": kind,
		"verb": verb,
		"reads": [],
		"writes": [],
		"functions": [],
		"facts": facts,
	},
}

good := {"id": "c1", "signature": {"kind": "ssh", "status": "verified", "signer": "ada"}}

bare := {"id": "c2", "signature": null}

unknown_key := {"id": "c3", "signature": {"kind": "ssh", "status": "unknown", "signer": null}}

pushing(role, facts) := on_git(role, "push", "write", object.union(
	{
		"repository": "team/app",
		"administration": false,
		"ref": "refs/heads/topic",
		"kind": "fast-forward",
		"commits": [good],
		"commits_total": 1,
		"lost": [],
		"lost_total": 0,
		"paths": [],
		"paths_total": 0,
		"scanned": false,
		"secrets": [],
		"largest_bytes": 1000,
		"pack_bytes": 2000,
		"cut": [],
	},
	facts,
))

stages(question) := quorums if {
	r := action.result with input as question
	r.effect == "ask"
	quorums := [[s.approvers, s.quorum] | some s in r.approval.stages]
}

test_a_reader_fetches if {
	effect(on_git("reader", "open", "read", {"repository": "team/app", "service": "upload-pack"})) == "allow"
	effect(on_git("reader", "fetch", "read", {"repository": "team/app", "refs": ["refs/heads/main"]})) == "allow"
}

test_a_reader_does_not_push if {
	fired(pushing("reader", {})) == {"action.git-reader"}
	fired(on_git("reader", "open", "write", {"repository": "team/app", "service": "receive-pack"})) == {"action.git-reader"}
}

test_what_was_lost_is_brought_back_by_admins if {
	some_branch := {"repository": "team/app", "ref": "refs/heads/topic", "old": "c1"}
	effect(on_git("admin", "restore", "admin", some_branch)) == "allow"
	every role in {"writer", "reader"} {
		fired(on_git(role, "restore", "admin", some_branch)) == {"action.git-restore-others"}
	}
}

test_a_writer_pushes if effect(pushing("writer", {})) == "allow"

test_a_writer_rewrites_their_own_branch if {
	effect(object.union(pushing("writer", {"kind": "force"}), {"action": {"verb": "admin"}})) == "allow"
}

test_nobody_rewrites_what_is_protected if {
	every ref in {"refs/heads/main", "refs/heads/release/1.2", "refs/tags/v1.0"} {
		every kind in {"force", "delete", "unknown"} {
			every role in {"writer", "admin"} {
				fired(pushing(role, {"ref": ref, "kind": kind})) == {"action.git-force"}
			}
		}
	}
}

test_who_broke_the_glass_does if {
	effect(pushing("break-glass", {"ref": "refs/heads/main", "kind": "force"})) == "allow"
	effect(pushing("break-glass", {"ref": "refs/heads/release/1.2"})) == "allow"
}

test_what_is_protected_takes_signed_commits if {
	effect(pushing("writer", {"ref": "refs/heads/main"})) == "allow"
	fired(pushing("writer", {"ref": "refs/heads/main", "commits": [good, bare]})) == {"action.git-unsigned"}
	fired(pushing("writer", {"ref": "refs/heads/main", "commits": [unknown_key]})) == {"action.git-unsigned"}
	effect(pushing("writer", {"commits": [bare]})) == "allow"
}

test_what_was_not_looked_at_whole_is_refused if {
	every lists in [["commits"], ["paths"], ["commits", "lost", "paths", "secrets"]] {
		fired(pushing("writer", {"ref": "refs/heads/main", "cut": lists})) == {"action.git-cut"}
		fired(pushing("break-glass", {"ref": "refs/heads/main", "cut": lists})) == {"action.git-cut"}
	}
}

test_that_more_is_lost_than_is_told_asks_nobody if {
	rewritten := {"scanned": true, "kind": "force", "cut": ["lost"], "lost_total": 900}
	effect(pushing("writer", rewritten)) == "allow"
	effect(pushing("break-glass", object.union(rewritten, {"ref": "refs/heads/main"}))) == "allow"
	fired(pushing("writer", object.union(rewritten, {"ref": "refs/heads/main"}))) == {"action.git-force"}
}

test_upper_and_lower_case_are_the_same_to_some_servers if {
	fired(pushing("writer", {"ref": "refs/heads/Main", "kind": "force"})) == {"action.git-force"}
	stages(pushing("admin", {"ref": "refs/heads/Release/1.2"})) == [[["release-managers"], 2]]
	effect(pushing("writer", {"ref": "refs/heads/mains", "kind": "force"})) == "allow"
}

large_file := {"scanned": true, "cut": ["secrets"]}

long_history := {"scanned": true, "cut": ["commits", "secrets"], "commits_total": 900}

test_what_was_not_looked_through_for_secrets_asks if {
	every facts in [large_file, long_history, object.union(large_file, {"ref": "refs/heads/main"})] {
		stages(pushing("writer", facts)) == [[["security-admins"], 1]]
		effect(pushing("writer", object.union(facts, {"cut": [], "commits_total": 1}))) == "allow"
	}
	both := pushing("admin", object.union(large_file, {"ref": "refs/heads/release/1"}))
	stages(both) == [[["security-admins"], 1], [["release-managers"], 2]]
	effect(pushing("break-glass", large_file)) == "allow"
	effect(pushing("writer", {"cut": ["commits", "lost", "paths"]})) == "allow"
	fired(pushing("writer", object.union(long_history, {"ref": "refs/heads/main"}))) == {"action.git-cut"}
}

test_what_was_not_looked_through_is_refused_where_that_is_said if {
	fired(pushing("writer", large_file)) == {"action.git-unscanned-refused"} with action.unscanned as "deny"
	effect(pushing("break-glass", large_file)) == "allow" with action.unscanned as "deny"
	effect(pushing("writer", large_file)) == "allow" with action.unscanned as "allow"
}

test_an_admin_brings_a_history_from_elsewhere_with_a_second_word if {
	every facts in [{"commits": [bare]}, long_history, {"cut": ["commits"], "commits_total": 900}] {
		every ref in {"refs/heads/main", "refs/tags/v1"} {
			new := object.union(facts, {"ref": ref, "kind": "create"})
			stages(pushing("admin", new)) == [[["security-admins"], 1]]
			effect(pushing("writer", new)) == "deny"
			effect(pushing("admin", object.union(new, {"kind": "fast-forward"}))) == "deny"
		}
	}
	effect(pushing("admin", {"ref": "refs/heads/main", "kind": "create"})) == "allow"
}

test_large_files_are_refused if {
	fired(pushing("admin", {"largest_bytes": 60 * 1048576})) == {"action.git-size"}
	fired(pushing("admin", {"pack_bytes": 600 * 1048576})) == {"action.git-size"}
}

test_a_secret_is_refused_with_its_file_and_line if {
	secret := {"detector": "access_key", "path": "deploy/env", "line": 7, "commit": "0123456789abcdef"}
	r := action.result with input as pushing("break-glass", {"secrets": [secret]})
	r.effect == "deny"
	some reason in r.reasons
	reason.message == "deploy/env:7 in 0123456789ab looks like a secret (access_key)"
}

test_a_release_takes_two_people if {
	stages(pushing("admin", {"ref": "refs/heads/release/1.2"})) == [[["release-managers"], 2]]
}

test_nobody_changes_the_policies_alone if {
	stages(pushing("admin", {"repository": "policies"})) == [[["security-admins"], 1]]
	stages(pushing("break-glass", {"repository": "gitolite-admin", "administration": true})) == [[["security-admins"], 1]]
}

test_who_looks_at_it_reads_which_files_decide if {
	paths := [{"path": path} | some path in ["conf/gitolite.conf", "keydir/a.pub", "keydir/b.pub", "keydir/c.pub"]]
	facts := {"repository": "gitolite-admin", "administration": true, "paths": paths, "paths_total": 7}
	r := action.result with input as pushing("admin", facts)
	some reason in r.reasons
	contains(reason.message, "(conf/gitolite.conf, keydir/a.pub, keydir/b.pub, 4 more)")
}

test_a_release_of_the_policies_takes_both if {
	q := pushing("admin", {"repository": "policies", "ref": "refs/heads/release/1"})
	stages(q) == [[["security-admins"], 1], [["release-managers"], 2]]
}

test_commands_of_the_server_are_for_admins if {
	command_of := {"program": "create", "argv": ["create", "x"]}
	effect(on_git("admin", "exec", "admin", command_of)) == "allow"
	every role in {"writer", "reader", "break-glass"} {
		fired(on_git(role, "exec", "admin", command_of)) == {"action.git-exec-others"}
	}
}
