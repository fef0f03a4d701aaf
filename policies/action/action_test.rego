package sallyport.action_test

import data.sallyport.action

statement(role, verb) := {
	"role": role,
	"action": {"kind": "select", "verb": verb, "reads": [], "writes": [], "functions": []},
}

with_facts(role, verb, facts) := {
	"role": role,
	"action": object.union(statement(role, verb).action, facts),
}

effect(question) := e if {
	r := action.result with input as question
	e := r.effect
}

fired(question) := rules if {
	r := action.result with input as question
	rules := {x.rule | some x in r.reasons}
}

test_a_reader_reads if effect(statement("reader", "read")) == "allow"

test_a_reader_has_a_session if effect(statement("reader", "session")) == "allow"

test_a_reader_does_not_write if fired(statement("reader", "write")) == {"action.reader-write"}

test_a_reader_does_not_ddl if effect(statement("reader", "ddl")) == "deny"

test_a_reader_does_not_administer if effect(statement("reader", "admin")) == "deny"

test_a_read_that_writes_is_denied_to_a_reader if {
	q := with_facts("reader", "read", {"writes": [{"schema": "public", "name": "orders"}]})
	fired(q) == {"action.reader-writes"}
}

test_a_writer_writes if effect(statement("writer", "write")) == "allow"

test_a_writer_does_not_ddl if fired(statement("writer", "ddl")) == {"action.writer-ddl"}

test_a_writer_does_not_administer if effect(statement("writer", "admin")) == "deny"

test_an_admin_does_all_of_it if {
	every verb in {"read", "write", "ddl", "admin", "session"} {
		effect(statement("admin", verb)) == "allow"
	}
}

test_who_broke_the_glass_repairs_and_does_not_reach_out if {
	every verb in {"read", "write", "ddl", "admin", "session"} {
		effect(statement("break-glass", verb)) == "allow"
	}
	q := with_facts("break-glass", "read", {"functions": [{"schema": "pg_catalog", "name": "pg_read_file"}]})
	fired(q) == {"action.reaching"}
}

test_the_unknown_is_denied_to_everybody if {
	every role in {"reader", "writer", "admin"} {
		fired(statement(role, "unknown")) == {"action.unknown"}
	}
}

test_dynamic_statements_are_denied_to_everybody if {
	every role in {"reader", "writer", "admin"} {
		fired(statement(role, "dynamic")) == {"action.dynamic"}
	}
}

test_a_role_nobody_thought_of_is_denied if fired(statement("owner", "read")) == {"action.default"}

test_a_reader_reads_no_files if {
	q := with_facts("reader", "read", {"functions": [{"schema": "pg_catalog", "name": "pg_read_file"}]})
	fired(q) == {"action.reaching"}
}

test_an_admin_may_end_a_backend if {
	q := with_facts("admin", "read", {"functions": [{"schema": "", "name": "pg_terminate_backend"}]})
	effect(q) == "allow"
}

test_statistics_tell_values if {
	fired(with_facts("writer", "read", {"reads": [{"schema": "pg_catalog", "name": "pg_stats"}]})) == {"action.telling"}
	fired(with_facts("reader", "read", {"reads": [{"schema": "", "name": "pg_authid"}]})) == {"action.telling"}
}

test_a_table_that_is_only_called_so_is_read if {
	effect(with_facts("reader", "read", {"reads": [{"schema": "shop", "name": "pg_stats"}]})) == "allow"
}
