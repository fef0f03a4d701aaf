# METADATA
# title: What a role may do once it is connected
# description: |
#   Asked for each statement. Keep it lean: tables of constants and sets, no walk over data. What is not named here is
#   denied.
package sallyport.action

verbs := {
	"reader": {"read", "session"},
	"writer": {"read", "write", "session"},
	"admin": {"read", "write", "ddl", "admin", "session"},
	"break-glass": {"read", "write", "ddl", "admin", "session"},
}

# Functions that reach files, other servers, other sessions or settings of the server.
reaching := {
	"dblink", "dblink_connect", "dblink_exec", "dblink_send_query", "lo_export", "lo_import", "pg_cancel_backend",
	"pg_logical_emit_message", "pg_ls_dir", "pg_notify", "pg_read_binary_file", "pg_read_file", "pg_reload_conf",
	"pg_stat_file", "pg_terminate_backend", "query_to_xml", "set_config",
}

# Relations of the system that hold values of other tables, passwords or other people's statements.
telling := {
	"pg_authid", "pg_largeobject", "pg_shadow", "pg_stat_activity", "pg_statistic", "pg_statistic_ext_data", "pg_stats",
	"pg_stats_ext", "pg_stats_ext_exprs", "pg_subscription", "pg_user_mapping", "pg_user_mappings",
}

# METADATA
# description: A role or an action that nobody thought of.
# custom: { rule: action.default }
default result := {
	"effect": "deny",
	"reasons": [{
		"rule": "action.default",
		"message": "your role does not cover this",
		"remedy": "ask for a role that does, or change the statement",
	}],
}

result := {"effect": "deny", "reasons": deny} if count(deny) > 0

result := {"effect": "allow", "reasons": []} if {
	count(deny) == 0
	count(ask) == 0
	allow
}

# The action waits, and goes on when these people have approved it: production.rego and git.rego say what asks.
result := {"effect": "ask", "reasons": ask, "approval": approval} if {
	count(deny) == 0
	count(ask) > 0
	allow
}

# METADATA
# title: A role does what its verbs say
# custom: { rule: action.role }
allow if {
	not is_ssh # see ssh.rego
	not is_git # see git.rego
	input.action.verb in verbs[input.role]
}

# METADATA
# title: A statement that was not understood does not run
# custom: { rule: action.unknown }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": $"this {input.action.kind} is not understood, so it is not run"} if {
	input.action.verb == "unknown"
}

# METADATA
# title: What is put together on the server cannot be judged beforehand
# custom: { rule: action.dynamic }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.kind} runs text that is put together on the server",
	"remedy": "send the statement itself",
} if {
	input.action.verb == "dynamic"
}

# METADATA
# title: Readers change nothing
# custom: { rule: action.reader-write }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"a reader may not {input.action.verb}",
	"remedy": "ask for the role writer",
} if {
	input.role == "reader"
	not is_ssh
	not is_git
	input.action.verb in {"write", "ddl", "admin"}
}

# METADATA
# title: Writers change rows, not the database
# custom: { rule: action.writer-ddl }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"a writer may not {input.action.kind}",
	"remedy": "ask for the role admin",
} if {
	input.role == "writer"
	not is_git
	input.action.verb in {"ddl", "admin"}
}

# METADATA
# title: A reader's statement writes to no relation, whatever it is called
# custom: { rule: action.reader-writes }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "this statement writes to a relation"} if {
	input.role == "reader"
	count(input.action.writes) > 0
	input.action.verb in {"read", "session"}
}

# METADATA
# title: Functions that reach out of the database are for the role admin
# custom: { rule: action.reaching }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": $"{f.name} reaches further than your role"} if {
	input.role != "admin"
	some f in input.action.functions
	f.name in reaching
}

# METADATA
# title: System relations that give away values are for the role admin
# custom: { rule: action.telling }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": $"{r.name} shows more than your role may see"} if {
	input.role != "admin"
	some r in input.action.reads
	r.name in telling
	r.schema in {"pg_catalog", ""}
}
