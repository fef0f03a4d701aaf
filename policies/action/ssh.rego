# Servers: shells, commands, files. What stands here is enforced to the letter for commands and files. A shell is
# recorded, not filtered: whoever may have one can run there whatever the login can.
package sallyport.action

# Programs that make another login of this one.
becoming := {"doas", "pkexec", "runuser", "su", "sudo"}

# Programs that look at a server and take no instructions to do more.
looking := {"df", "free", "uptime", "whoami"}

# Variables that say how to show things. Others can make a program load or run something.
telling_names := {"COLORTERM", "LANG", "LANGUAGE", "TERM", "TZ"}

is_ssh if input.action.protocol == "ssh"

# METADATA
# title: Operators, root and who broke the glass run shells and commands, and move files both ways
# custom: { rule: action.ssh-operator }
allow if {
	is_ssh
	input.role in {"break-glass", "operator", "root"}
	input.action.kind in {"exec", "pty", "scp", "sftp", "shell", "signal", "subsystem"}
}

# METADATA
# title: Readers fetch files
# custom: { rule: action.ssh-reader-files }
allow if {
	is_ssh
	input.role == "reader"
	input.action.kind in {"scp", "sftp"}
	input.action.verb == "read"
}

# METADATA
# title: Readers open the subsystem that fetches files
# custom: { rule: action.ssh-reader-sftp }
allow if {
	is_ssh
	input.role == "reader"
	input.action.kind == "subsystem"
	input.action.facts.name == "sftp"
}

# METADATA
# title: Readers run what only looks
# custom: { rule: action.ssh-reader-looks }
allow if {
	is_ssh
	input.role == "reader"
	input.action.kind == "exec"
	input.action.facts.program in looking
}

# METADATA
# title: The client may say how to show things
# custom: { rule: action.ssh-env }
allow if {
	is_ssh
	input.action.kind == "env"
	input.action.facts.name in telling_names
}

# METADATA
# title: The client may say which language it speaks
# custom: { rule: action.ssh-locale }
allow if {
	is_ssh
	input.action.kind == "env"
	startswith(input.action.facts.name, "LC_")
}

# METADATA
# title: Readers have no shell, run no other command and change no file
# custom: { rule: action.ssh-reader }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"a reader may fetch files and look, which this {input.action.kind} is not",
	"remedy": "ask for the role operator",
} if {
	is_ssh
	input.role == "reader"
	input.action.kind in {"exec", "scp", "sftp", "shell", "subsystem"}
	not allow
}

# METADATA
# title: A plain command that makes another login of one's own is for root
# description: A signpost, not a wall. Where the words need a shell (`sudo id; x`) or a shell is open, it is recorded, not judged.
# custom: { rule: action.ssh-become }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.facts.program} makes another login of yours",
	"remedy": "ask for the role root",
} if {
	is_ssh
	input.role != "root"
	input.action.kind == "exec"
	parts := split(input.action.facts.program, "/")
	parts[count(parts) - 1] in becoming
}

# METADATA
# title: No port, socket, agent or screen is forwarded
# custom: { rule: action.ssh-forwarding }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"policy forwards no {forwarded[input.action.kind]}",
	"remedy": "ask the owners of the policy for a rule that names host and port",
} if {
	is_ssh
	forwarded[input.action.kind]
}

forwarded := {"agent": "agent", "forward": "port or socket", "x11": "X11 display"}
