# METADATA
# title: What of a decision is not written down
# description: |
#   Paths as OPA's decision masking writes them, for example "/input/subject/email". What is erased cannot be computed
#   again; the digest of the whole input stays.
package sallyport.decision_log

# METADATA
# description: Nothing is erased.
# custom: { rule: decision_log.default }
default result := {"erase": [], "mask": []}

# METADATA
# title: Claims of the identity provider are kept only where access was decided
# custom: { rule: decision_log.claims }
result := {"erase": [], "mask": ["/input/subject/claims"]} if input.point in {"replay", "admin"}
