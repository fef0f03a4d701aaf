# METADATA
# title: Who may make which call of the control plane
# description: |
#   Every call that no other point answers. A call that stands in none of these lists is denied, so a new one is closed
#   until somebody writes it down here.
package sallyport.admin

import data.sallyport.lib.people

# What everybody who is signed in may do. Nothing here shows what belongs to somebody else.
everybody := {
	"access.can_i", # would I get this role here
	"me", # who am I, which groups
	"resources.list", # what there is, and which roles I may ask for
	"slack.link", # bind my Slack account to me
}

# What somebody may do with what is their own. The lists ask twice: with `own` for one's own, without for everybody's.
own := {
	"decisions.explain", # why was I denied
	"decisions.list",
	"decisions.read",
	"grants.list",
	"grants.read",
	"grants.revoke", # give back a role early
	"recordings.list",
	"recordings.read",
	"requests.cancel",
	"requests.list",
	"requests.read",
	"reviews.list",
	"reviews.read",
	"sessions.end",
	"sessions.list",
	"sessions.read",
	"tokens.list",
	"tokens.revoke",
}

# What auditors read.
audit := {
	"audit.checkpoint",
	"audit.list",
	"audit.prove",
	"decisions.explain",
	"decisions.export",
	"decisions.list",
	"decisions.read",
	"evidence.export", # a bundle that outsiders check; each part of it is asked for by its own call too
	"grants.list",
	"grants.read",
	"holds.list",
	"policy.history", # what was in force
	"policy.plan",
	"policy.shadow", # what a candidate would decide differently
	"policy.sources", # and what it was compiled from
	"policy.status",
	"proposals.list", # what waits for a second person
	"recordings.list",
	"recordings.read",
	"requests.list",
	"requests.read",
	"retention.preview", # what would go
	"retention.read",
	"reviews.list",
	"reviews.read",
	"sessions.list",
	"sessions.read",
	"status.read",
	"subjects.list",
}

# What approvers and reviewers need to see before they decide.
approvers := {"requests.read", "reviews.read"}

# The second pair of eyes on what nobody does alone. Whoever proposed cannot confirm, whatever their groups.
second := {"proposals.confirm", "proposals.refuse"}

# What ends, keeps or hands out: the owners of these policies.
security := {
	"erasures.preview",
	"erasures.propose", # erase one person's content; a second person confirms it
	"grants.revoke",
	"holds.lift",
	"holds.set",
	"policy.pin", # hold a commit, whatever the tracked ref names
	"policy.rollback",
	"policy.unpin",
	"requests.cancel",
	"retention.floor", # raise what is kept at least; lowering it takes a second person
	"sessions.end",
	"subjects.disable",
	"subjects.enable",
	"subjects.list",
	"tokens.issue",
	"tokens.list",
	"tokens.revoke",
}

# What the program does by itself.
system := {"lease.reap"} # remove a session's credential from its target

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
# title: People make tokens for themselves, with a sign-in and not with another token
# custom: { rule: admin.own-token }
allow if {
	input.own
	input.subject.kind == "person"
	is_null(input.subject.token)
	input.call == "tokens.issue"
}

# METADATA
# title: Auditors read
# custom: { rule: admin.auditors }
allow if {
	people.in_group(people.auditors)
	input.call in audit
}

# METADATA
# title: Who is named as an approver sees the requests they decide
# description: Every group that access/ or action/ names, but those who read all of it anyhow.
# custom: { rule: admin.approvers }
allow if {
	some group in {"dbas", people.release_managers}
	people.in_group(group)
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
# title: Auditors and security admins are the second pair of eyes, as people who signed in
# custom: { rule: admin.second }
allow if {
	some group in {people.auditors, people.security}
	people.in_group(group)
	input.subject.kind == "person"
	input.call in second
}

# METADATA
# title: The program itself
# custom: { rule: admin.system }
allow if {
	input.subject.kind == "system"
	input.call in system
}
