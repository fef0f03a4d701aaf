# Machines: subjects of an API token. Their groups are those that the token was issued with, and its scopes take away from
# what stands here. `on_behalf_of` is the person for whom a machine acts: that person cannot approve it (approve/).
package sallyport.access

import data.sallyport.lib.places

# METADATA
# title: Machines do not administer
# custom: { rule: access.machine-admin }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.role} is for people",
	"remedy": "let a person ask, or use a role that does less",
} if {
	input.subject.kind == "machine"
	input.role in {"admin", "break-glass", "root"}
}

# METADATA
# title: In production a machine changes something only on behalf of a person
# custom: { rule: access.machine-alone }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": "a machine changes production on behalf of a person, and this one acts for nobody",
	"remedy": "let a person ask, or ask for reader",
} if {
	input.subject.kind == "machine"
	places.production
	input.role != "reader"
	is_null(input.subject.on_behalf_of)
}
