# METADATA
# title: Columns that people see masked
# description: |
#   Asked when a session starts and on every new revision. Among the rules that match a column the strictest wins. A
#   statement that reaches a masked column in another way than as a bare output column is refused.
package sallyport.masking

result := {"rules": rules}

# METADATA
# title: E-mail addresses show their end
# custom: { rule: masking.email }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "*", "table": "customers", "column": "email"},
	"transform": {"kind": "partial", "keep_last": 8},
} if {
	people_see_masked
}

# METADATA
# title: National ids are not shown at all
# custom: { rule: masking.national-id }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "*", "table": "customers", "column": "national_id"},
	"transform": {"kind": "redact"},
} if {
	people_see_masked
}

# METADATA
# title: Card numbers show their last four digits
# custom: { rule: masking.card-number }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "*", "table": "*", "column": "card_number"},
	"transform": {"kind": "partial", "keep_last": 4},
} if {
	people_see_masked
}

# METADATA
# title: Salaries are empty
# custom: { rule: masking.salary }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "hr", "table": "employees", "column": "salary"},
	"transform": {"kind": "null"},
} if {
	people_see_masked
}

people_see_masked if {
	input.role != "admin"
	not input.resource.protocol == "ssh" # has no columns, and a session with rules that cannot be carried out is refused
}
