# METADATA
# title: Who may make which call of the control plane
# description: |
#   Every call that no other point answers. A call that stands in none of these lists is denied, so a new one is closed
#   until somebody writes it down here.
package sallyport.admin

import data.sallyport.lib.people

# What everybody who is signed in may do.
everybody := {
	"me", # who am I, which groups
	"resources.list", # what there is, and which roles I may ask for
	"requests.list", "requests.mine", # my own requests; others' are left out by the program unless `own` is false
	"slack.link", # bind my Slack account to me
	"status.read", # what runs, and which revision
}

# What somebody may do with what is their own.
own := {
	"requests.read", "requests.cancel",
	"grants.list", "grants.read", "grants.revoke", # give back a role early
	"sessions.list", "sessions.read", "sessions.end",
	"decisions.read", # why was I denied
	"tickets.issue",
	"recordings.read",
}

# What auditors read.
audit := {
	"requests.list", "requests.read", "requests.all",
	"grants.list", "grants.read",
	"sessions.list", "sessions.read",
	"recordings.list", "recordings.read",
	"decisions.list", "decisions.read",
	"audit.list", "audit.read", "audit.prove", "audit.verify", "audit.checkpoint",
	"holds.list",
	"policy.status", "policy.read",
}

# What approvers need to see before they decide.
approvers := {"requests.read"}

# What ends, keeps or hands out: the owners of these policies.
security := {
	"grants.revoke", "requests.cancel",
	"sessions.end",
	"tokens.list", "tokens.issue", "tokens.revoke",
	"holds.set", "holds.lift",
	"policy.poll",
	"subjects.list", "subjects.read", "subjects.disable",
}

# What the program does by itself.
system := {
	"lease.reap", # remove a session's credential from its target
	"recording.delete", # destroy the key of what expired
	"session.end",
}

# METADATA
# description: An unknown call, or one that your groups do not have.
# custom: { rule: admin.default }
default result := {
	"effect": "deny",
	"reasons": [{
		"rule": "admin.default",
		"message": "your groups do not have this call",
		"remedy": "ask a security admin",
	}],
}

result := {"effect": "allow", "reasons": []} if allow

# METADATA
# title: Everybody who is signed in
# custom: { rule: admin.everybody }
allow if {
	input.subject.kind in {"person", "machine"}
	input.call in everybody
}

# METADATA
# title: What is one's own
# custom: { rule: admin.own }
allow if {
	input.own
	input.subject.kind in {"person", "machine"}
	input.call in own
}

# METADATA
# title: Auditors read
# custom: { rule: admin.auditors }
allow if {
	people.in_group(people.auditors)
	input.call in audit
}

# METADATA
# title: Database administrators see the requests they decide
# custom: { rule: admin.approvers }
allow if {
	people.in_group("dbas")
	input.call in approvers
}

# METADATA
# title: Security admins read what auditors read, and act
# custom: { rule: admin.security }
allow if {
	people.in_group(people.security)
	input.call in (audit | security)
}

# METADATA
# title: The program itself
# custom: { rule: admin.system }
allow if {
	input.subject.kind == "system"
	input.call in system
}
