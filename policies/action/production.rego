# What a second person looks at before it runs. `ask` holds the action: its client waits, the people of `approval` see in
# Slack and on the web what would be done, and it goes on when they have approved it: this action, once. A deny or a
# missing allow in the other files stays a deny: nobody approves what nobody may do.
package sallyport.action

import data.sallyport.lib.places

# Who breaks the glass repairs what cannot wait; somebody looks at it afterwards (access/break_glass.rego).
asked_in_production if {
	places.production
	input.role != "break-glass"
}

# Programs after which a server serves nobody.
stopping := {"halt", "init", "mkfs", "poweroff", "reboot", "shutdown", "wipefs"}

# The stages follow one another, and nobody approves their own. `expires_s` is how long the client waits at most.
approval := {"stages": [{"approvers": ["dbas"], "quorum": 1, "channel": "db-approvals"}], "expires_s": 900} if not is_git

approval := git_approval if is_git

# METADATA
# title: What drops or empties something in production is seen by a second person first
# custom: { rule: action.production-drops }
ask contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.kind} in production is looked at first",
} if {
	asked_in_production
	destroys
}

# METADATA
# title: An update or delete of every row in production is seen by a second person first
# description: |
#   A guard against slips: a WHERE that is always true is a WHERE. `unfiltered` is there as well where a part of the statement
#   (a WITH) has none.
# custom: { rule: action.production-every-row }
ask contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"this {input.action.kind} has no WHERE and changes every row in production",
} if {
	asked_in_production
	input.action.facts.unfiltered
}

# METADATA
# title: A plain command that stops a server in production is seen by a second person first
# description: A signpost, as action.ssh-become is. In a shell, or in words that need one, it is recorded and not held.
# custom: { rule: action.production-stops }
ask contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.facts.program} stops a server in production",
} if {
	asked_in_production
	is_ssh
	input.action.kind == "exec"
	parts := split(input.action.facts.program, "/")
	parts[count(parts) - 1] in stopping
}

destroys if input.action.kind == "truncate"

destroys if startswith(input.action.kind, "drop_")
