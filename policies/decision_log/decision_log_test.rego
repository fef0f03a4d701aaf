package sallyport.decision_log_test

import data.sallyport.decision_log

test_access_is_kept_whole if {
	r := decision_log.result with input as {"point": "access", "effect": "allow", "resource": "db"}
	r == {"erase": [], "mask": []}
}

test_claims_are_not_kept_elsewhere if {
	r := decision_log.result with input as {"point": "admin", "effect": "allow", "resource": null}
	r.mask == ["/input/subject/claims"]
}
