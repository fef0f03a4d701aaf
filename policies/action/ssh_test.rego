package sallyport.action_test

on_server(role, kind, verb, facts) := {
	"role": role,
	"action": {
		"protocol": "ssh",
		"kind": kind,
		"verb": verb,
		"reads": [],
		"writes": [],
		"functions": [],
		"facts": facts,
	},
}

command(role, program) := on_server(role, "exec", "session", {"command": program, "argv": [program], "program": program})

test_an_operator_has_a_shell if {
	effect(on_server("operator", "shell", "session", {"pty": true, "term": "xterm"})) == "allow"
}

test_an_operator_runs_commands_that_only_a_shell_understands if {
	q := on_server("operator", "exec", "session", {"command": "a && b", "argv": null, "program": null})
	effect(q) == "allow"
}

test_who_broke_the_glass_has_a_shell if {
	effect(on_server("break-glass", "shell", "session", {"pty": true, "term": "xterm"})) == "allow"
}

test_a_reader_has_no_shell if {
	fired(on_server("reader", "shell", "session", {"pty": true, "term": "xterm"})) == {"action.ssh-reader"}
}

test_a_reader_looks if effect(command("reader", "uptime")) == "allow"

test_a_reader_runs_nothing_else if fired(command("reader", "rm")) == {"action.ssh-reader"}

test_a_reader_runs_nothing_that_is_not_plain_words if {
	q := on_server("reader", "exec", "session", {"command": "uptime; rm x", "argv": null, "program": null})
	fired(q) == {"action.ssh-reader"}
}

test_a_reader_fetches_files if {
	effect(on_server("reader", "subsystem", "session", {"name": "sftp"})) == "allow"
	effect(on_server("reader", "sftp", "read", {"operation": "open", "path": "/etc/motd"})) == "allow"
}

test_a_reader_changes_no_file if {
	fired(on_server("reader", "sftp", "write", {"operation": "remove", "path": "/etc/motd"})) == {"action.ssh-reader"}
}

test_a_reader_asks_for_no_other_subsystem if {
	fired(on_server("reader", "subsystem", "session", {"name": "netconf"})) == {"action.ssh-reader"}
}

test_an_operator_does_not_become_root if {
	fired(command("operator", "sudo")) == {"action.ssh-become"}
	fired(command("operator", "/usr/bin/sudo")) == {"action.ssh-become"}
}

test_root_becomes_whom_it_likes if effect(command("root", "su")) == "allow"

test_nothing_is_forwarded_for_anybody if {
	every role in {"reader", "operator", "root"} {
		fired(on_server(role, "forward", "admin", {"kind": "local", "host": "db", "port": 5432, "path": ""})) == {"action.ssh-forwarding"}
		fired(on_server(role, "agent", "admin", {})) == {"action.ssh-forwarding"}
		fired(on_server(role, "x11", "admin", {})) == {"action.ssh-forwarding"}
	}
}

test_the_language_may_be_told if {
	every name in {"LANG", "LC_ALL", "LC_CTYPE", "TERM"} {
		effect(on_server("reader", "env", "session", {"name": name})) == "allow"
	}
}

test_what_makes_programs_load_something_may_not if {
	every name in {"LD_PRELOAD", "BASH_ENV", "ENV", "PATH", "PYTHONSTARTUP", "GIT_SSH_COMMAND"} {
		fired(on_server("root", "env", "session", {"name": name})) == {"action.default"}
	}
}

test_a_database_role_is_none_on_a_server if {
	effect(on_server("admin", "shell", "session", {"pty": true, "term": ""})) == "deny"
}

test_a_reader_fetches_by_the_old_scp_and_brings_nothing if {
	effect(on_server("reader", "scp", "read", {"direction": "download", "path": "/etc/motd"})) == "allow"
	fired(on_server("reader", "scp", "write", {"direction": "upload", "path": "/etc/motd"})) == {"action.ssh-reader"}
}

test_an_operator_moves_files_both_ways if {
	every verb in {"read", "write", "admin"} {
		effect(on_server("operator", "sftp", verb, {"operation": "open", "path": "/srv/x"})) == "allow"
	}
	effect(on_server("operator", "scp", "write", {"direction": "upload", "path": "/srv/x"})) == "allow"
}
