# METADATA
# title: How long recordings and logs are kept
# description: Counted from the seal, by the database's clock. An undefined answer keeps.
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
	input.class == "recording"
	input.recording.labels.class == "customer-data"
}

# METADATA
# title: Decisions, requests and sessions are kept for two years
# custom: { rule: retention.logs }
result := {"keep_s": 730 * day, "legal_hold": false} if input.class in {"decisions", "requests", "sessions"}
