# METADATA
# title: What people are told about
# description: Asked with the counts of each window. An undefined answer is itself an alarm.
package sallyport.alerts

result := {"alerts": alerts}

counted := {c.name: c.count | some c in input.counts; count(c.labels) == 0}

# METADATA
# title: Many wrong tickets
# custom: { rule: alerts.tickets-refused }
alerts contains {
	"rule": rego.metadata.rule().custom.rule,
	"severity": "warning",
	"summary": $"{counted["ticket.refused"]} tickets were refused in {input.window_s} s",
} if {
	counted["ticket.refused"] > 20
}

# METADATA
# title: Policy that cannot be evaluated
# custom: { rule: alerts.policy-faults }
alerts contains {
	"rule": rego.metadata.rule().custom.rule,
	"severity": "critical",
	"summary": $"{counted["policy.fault"]} questions could not be answered by the policy in {input.window_s} s",
} if {
	counted["policy.fault"] > 0
}

# METADATA
# title: Recordings with a gap
# custom: { rule: alerts.recording-interrupted }
alerts contains {
	"rule": rego.metadata.rule().custom.rule,
	"severity": "critical",
	"summary": $"{counted["recording.interrupted"]} recordings have a gap",
} if {
	counted["recording.interrupted"] > 0
}
