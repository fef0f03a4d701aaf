# Breaking the glass. When nobody who could approve is awake, who is on call takes the role `break-glass` on their own word:
# a group of roles/data.yaml that holds those people and nobody else gives it, briefly. What it costs them:
#   - a reason that says something, before anything else (below)
#   - columns stay masked, and functions that reach out of the database stay closed (masking/, action/)
#   - the session is on disk before anything is forwarded (recording/), and is kept for two years (retention/)
#   - a database administrator or a security admin looks at the recording afterwards (`review` below; replay/ lets them)
# Every such decision names the rule access.break-glass: search for it, and count it (alerts/).
package sallyport.access

import data.sallyport.lib.people

# METADATA
# title: Who is on call breaks the glass on their own word
# custom: { rule: access.break-glass }
allow contains {"rule": rego.metadata.rule().custom.rule, "message": "the glass was broken; this session will be reviewed"} if {
	input.role == "break-glass"
	says_why
	max_s
}

# METADATA
# title: Nobody breaks the glass without saying why
# custom: { rule: access.break-glass-reason }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": "the glass is broken with a reason of twenty characters or more",
	"remedy": "say what is broken and what you are about to do",
} if {
	input.role == "break-glass"
	not says_why
}

# METADATA
# title: Every broken glass is looked at
# description: |
#   A review is opened with the grant. One of `reviewers` (never who broke the glass) watches the recordings and accepts or
#   flags what was done, within `due_s` after the end of the grant; then everybody in `channel` is reminded. approve/
#   decides each answer. `sallyport reviews` and the page Reviews list what is open.
review := {
	"reviewers": ["dbas", people.security],
	"due_s": 24 * 3600,
	"channel": "db-approvals",
} if input.role == "break-glass"

says_why if count(trim_space(input.request.reason)) >= 20
