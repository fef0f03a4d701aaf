# METADATA
# title: Columns that people see masked
# description: |
#   Asked when a session starts and on every new revision. Among the rules that match a column the strictest wins. A
#   statement that reaches a masked column in another way than as a bare output column is refused. Columns belong to classes
#   of data; a role sees the classes that `sees` names. A column that stands in no rule is not masked.
package sallyport.masking

result := {"rules": rules}

# Role → classes of data that it sees as they are. A role that does not stand here sees none of them: a new role of yours
# begins masked. `"support": {"contact"}` would let support read the addresses it writes to, and nothing else.
sees := {"admin": {"contact", "identity", "payment", "pay"}}

# METADATA
# title: E-mail addresses show their end
# custom: { rule: masking.email }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "*", "table": "customers", "column": "email"},
	"transform": {"kind": "partial", "keep_last": 8},
} if {
	masked("contact")
}

# METADATA
# title: National ids are not shown at all
# custom: { rule: masking.national-id }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "*", "table": "customers", "column": "national_id"},
	"transform": {"kind": "redact"},
} if {
	masked("identity")
}

# METADATA
# title: Card numbers show their last four digits
# custom: { rule: masking.card-number }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "*", "table": "*", "column": "card_number"},
	"transform": {"kind": "partial", "keep_last": 4},
} if {
	masked("payment")
}

# METADATA
# title: Salaries are empty
# custom: { rule: masking.salary }
rules contains {
	"rule": rego.metadata.rule().custom.rule,
	"match": {"schema": "hr", "table": "employees", "column": "salary"},
	"transform": {"kind": "null"},
} if {
	masked("pay")
}

masked(class) if {
	not sees[input.role][class]
	not input.resource.labels.class == "synthetic" # made-up data is nobody's
	not input.resource.protocol == "ssh" # has no columns, and a session with rules that cannot be carried out is refused
	not input.resource.protocol == "git" # the same
}
