# METADATA
# title: Who gets a role on a resource, and on whose word
# description: |
#   Asked when a role is requested, when a ticket is handed out and presented, and again while a session lives. The
#   answer `ask` is an allow as soon as the recorded votes satisfy the terms returned here. Of the rules that apply a deny
#   wins, then an allow, then an ask. Its other files: environments.rego (development, production), break_glass.rego,
#   machines.rego.
package sallyport.access

import data.sallyport.lib.people
import data.sallyport.lib.places

# METADATA
# description: Nothing fits, so the answer is no.
# custom: { rule: access.default }
default result := {
	"effect": "deny",
	"reasons": [{
		"rule": "access.default",
		"message": "none of your groups has this role on this resource",
		"remedy": "ask for another role, or ask the owners of roles/data.yaml for this one",
	}],
}

result := {"effect": "deny", "reasons": deny} if count(deny) > 0

result := object.union(terms, {"effect": "allow", "reasons": allow}) if {
	count(deny) == 0
	count(allow) > 0
}

result := object.union(terms, {"effect": "ask", "reasons": ask, "approval": approval}) if {
	count(deny) == 0
	count(allow) == 0
	count(ask) > 0
}

# METADATA
# title: Nobody asks for longer than the role may last
# custom: { rule: access.too-long }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.request.duration_s} s asked; {input.role} lasts at most {max_s} s here",
	"remedy": $"ask for {max_s} s or less",
} if {
	input.stage == "request"
	input.request.duration_s > max_s
}

# METADATA
# title: Database administrators read without asking
# custom: { rule: access.dba-standing }
allow contains {"rule": rego.metadata.rule().custom.rule, "message": "database administrators have standing read access"} if {
	input.role == "reader"
	"dbas" in input.subject.groups
	max_s_of("dbas")
	not places.production
}

# METADATA
# title: A database administrator approves reading, writing and operating
# custom: { rule: access.dba-approves }
ask contains {"rule": rego.metadata.rule().custom.rule, "message": $"{input.role} needs the word of a database administrator"} if {
	input.role in {"reader", "writer", "operator"}
	max_s
}

# METADATA
# title: Administration needs two people
# custom: { rule: access.two-stages }
ask contains {"rule": rego.metadata.rule().custom.rule, "message": $"{input.role} needs a database administrator, then a security admin"} if {
	input.role in {"admin", "root"}
	max_s
}

approval := {"stages": array.concat([dba_stage], security_stages), "expires_s": 3600}

dba_stage := {"approvers": ["dbas"], "quorum": 1, "channel": "db-approvals"}

default security_stages := []

security_stages := [{"approvers": [people.security], "quorum": 1, "channel": "db-approvals"}] if input.role in {"admin", "root"}

terms := {
	"grant": grant,
	"session": {"max_s": max_s, "idle_s": 900, "max_connections": 20, "from": ["0.0.0.0/0", "::/0"]},
}

# Where a review is asked for, somebody looks afterwards at what was done: the files of this package say for which roles.
grant := {"max_s": max_s, "review": review} if review

else := {"max_s": max_s}

# The longest time that one of the subject's groups gives for this role on this resource; undefined when none does.
max_s := max({s | some group in input.subject.groups; s := max_s_of(group)})

max_s_of(group) := max([rule.max_s | some rule in data.roles[group][input.role]; fits(rule)])

fits(rule) if input.resource.name in rule.names

fits(rule) if {
	count(rule.labels) > 0
	every label, value in rule.labels {
		input.resource.labels[label] == value
	}
}
