# What the label `env` of a resource adds to access.rego. A rule here either denies, which wins over everything, or allows
# what would be asked for otherwise. Without the label nothing here holds.
package sallyport.access

import data.sallyport.lib.hours
import data.sallyport.lib.places

# METADATA
# title: In development nobody has to be asked
# description: The groups of roles/data.yaml still say who has which role there, and for how long.
# custom: { rule: access.development }
allow contains {"rule": rego.metadata.rule().custom.rule, "message": "in development your groups are enough"} if {
	places.development
	max_s
}

# METADATA
# title: Production is asked for with the number of a ticket
# description: |
#   Looked at when the request is made, so that a grant does not end because the pattern changes. In an emergency, where
#   there is no ticket yet, there is the role break-glass.
# custom: { rule: access.production-ticket }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": "production is asked for with the number of a ticket",
	"remedy": "ask again with the number, as in --ticket OPS-123",
} if {
	places.production
	input.stage == "request"
	input.role != "break-glass"
	not names_a_ticket
}

# As your ticket system writes them. The number is not looked up: a policy has no network. Approvers see it.
names_a_ticket if regex.match(`^[A-Z][A-Z0-9]{1,9}-[0-9]{1,8}$`, input.request.ticket_ref)

# METADATA
# title: In production, changes are begun in office hours
# description: A session that lives goes on (`live` is not among the stages), so that nobody is cut off in the middle.
# custom: { rule: access.production-hours }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.role} in production begins Monday to Friday, 08:00 to 18:00 ({input.time.zone})",
	"remedy": "come back then, ask for reader, or ask who is on call",
} if {
	places.production
	input.stage in {"request", "ticket", "connect"}
	input.role in {"admin", "operator", "root", "writer"}
	not hours.office
}
