# METADATA
# title: Who watches a recording
# description: |
#   Recordings hold what the person saw. The clear view adds the layer of originals (what was typed, literals that masks
#   hide), where the `recording` point asked for one.
package sallyport.replay

import data.sallyport.lib.people

# METADATA
# description: Recordings are not for everybody.
# custom: { rule: replay.default }
default result := {
	"effect": "deny",
	"view": "masked",
	"reasons": [{
		"rule": "replay.default",
		"message": "none of your groups may watch this recording this way",
		"remedy": "ask an auditor",
	}],
}

result := {"effect": "deny", "view": "masked", "reasons": deny} if count(deny) > 0

result := {"effect": "allow", "view": input.view, "reasons": []} if {
	count(deny) == 0
	allow
}

# METADATA
# title: Auditors and security admins watch everything
# custom: { rule: replay.auditor }
allow if {
	some group in {people.auditors, people.security}
	people.in_group(group)
}

# METADATA
# title: People watch their own sessions
# custom: { rule: replay.own }
allow if {
	input.own
	input.verb == "open"
}

# METADATA
# title: Database administrators review what was done behind a broken glass
# description: Who broke it watches as everybody watches their own, and does not review it.
# custom: { rule: replay.break-glass }
allow if {
	people.in_group("dbas")
	input.recording.role == "break-glass"
	input.verb == "open"
}

# METADATA
# title: Originals are for security admins, and never without a reason
# custom: { rule: replay.clear }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": "the clear view is for security admins who say why in ten characters or more",
	"remedy": "ask for the masked view, or give the reason",
} if {
	input.view == "clear"
	not may_see_originals
}

may_see_originals if {
	people.in_group(people.security)
	count(trim_space(input.reason)) >= 10
}

# METADATA
# title: Not even security admins see the originals of their own sessions
# custom: { rule: replay.clear-own }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "your own session is opened in clear by somebody else", "remedy": "ask another security admin"} if {
	input.view == "clear"
	input.own
}
