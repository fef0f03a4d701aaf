package sallyport.retention_test

import data.sallyport.retention

test_customer_data_goes_after_90_days if {
	q := {"class": "recording", "recording": {"labels": {"class": "customer-data"}}}
	r := retention.result with input as q
	r == {"keep_s": 7776000, "legal_hold": false}
}

test_other_recordings_stay_a_year if {
	r := retention.result with input as {"class": "recording", "recording": {"labels": {}}}
	r.keep_s == 31536000
}

test_logs_stay_two_years if {
	every class in {"decisions", "requests", "sessions"} {
		r := retention.result with input as {"class": class, "recording": null}
		r.keep_s == 63072000
	}
}
