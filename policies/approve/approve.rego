# METADATA
# title: Who may press Approve or Deny, and who may answer a review
# description: |
#   Votes are counted by the program against the terms of `access`; this point says whether a press counts at all. A review
#   of what was done under a grant is answered here too: `input.answer` is accept or flag then, and `input.approvers` are
#   the reviewers that `access` named when it gave the grant.
package sallyport.approve

# METADATA
# description: Nobody else decides.
# custom: { rule: approve.default }
default result := {
	"effect": "deny",
	"reasons": [{
		"rule": "approve.default",
		"message": "you are not among the approvers of this stage",
		"remedy": "one of the people or groups named in the request decides it",
	}],
}

result := {"effect": "deny", "reasons": deny} if count(deny) > 0

result := {"effect": "allow", "reasons": []} if {
	count(deny) == 0
	allow
}

# METADATA
# title: An approver of this stage decides
# custom: { rule: approve.approver }
allow if {
	input.subject.kind == "person"
	some name in input.approvers
	name in input.subject.groups
}

# METADATA
# title: An approver named by id decides
# custom: { rule: approve.named }
allow if {
	input.subject.kind == "person"
	input.subject.id in input.approvers
}

# METADATA
# title: Nobody decides on their own request
# custom: { rule: approve.own }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "you cannot decide on your own request"} if {
	input.subject.id in {input.requester.id, input.requester.on_behalf_of}
}

# METADATA
# title: A person votes once, and who voted for it does not review it
# custom: { rule: approve.once }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "you have voted on this request already"} if {
	some vote in input.votes
	vote.approver == input.subject.id
}
