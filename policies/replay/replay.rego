# METADATA
# title: Who watches a recording
# description: Recordings hold what the person saw. There is no clear view in this version.
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

result := {"effect": "allow", "view": "masked", "reasons": []} if {
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
# title: Nobody sees originals
# custom: { rule: replay.clear }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "there is no clear view of recordings", "remedy": "ask for the masked view"} if {
	input.view == "clear"
}
