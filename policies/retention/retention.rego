# METADATA
# title: How long recordings and logs are kept
# description: |
#   Counted from the seal, by the database's clock. An undefined answer keeps. Rules by class read the label `class` that
#   the resource had when the session began. Exactly one rule may apply: two different answers are an error, and keep.
package sallyport.retention

day := 86400

# METADATA
# description: A year, where nothing else is said.
# custom: { rule: retention.default }
default result := {"keep_s": 31536000, "legal_hold": false}

# METADATA
# title: Recordings of customer data go after 90 days
# custom: { rule: retention.customer-data }
result := {"keep_s": 90 * day, "legal_hold": false} if {
	usual
	input.recording.labels.class == "customer-data"
}

# METADATA
# title: Recordings of made-up data go after 30 days
# custom: { rule: retention.synthetic }
result := {"keep_s": 30 * day, "legal_hold": false} if {
	usual
	input.recording.labels.class == "synthetic"
}

usual if {
	input.class == "recording"
	input.recording.role != "break-glass"
}

# METADATA
# title: Recordings of a broken glass are kept for two years, whatever they show
# custom: { rule: retention.break-glass }
result := {"keep_s": 730 * day, "legal_hold": false} if {
	input.class == "recording"
	input.recording.role == "break-glass"
}

# METADATA
# title: Decisions, requests and sessions are kept for two years
# custom: { rule: retention.logs }
result := {"keep_s": 730 * day, "legal_hold": false} if input.class in {"decisions", "requests", "sessions"}

# METADATA
# title: The name of a person whose content two people erased goes at once
# custom: { rule: retention.identity }
result := {"keep_s": 1, "legal_hold": false} if input.class == "identity"
