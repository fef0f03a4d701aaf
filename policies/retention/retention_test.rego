package sallyport.retention_test

import data.sallyport.retention

recorded(role, labels) := {"class": "recording", "recording": {"role": role, "labels": labels}}

test_customer_data_goes_after_90_days if {
	r := retention.result with input as recorded("reader", {"class": "customer-data"})
	r == {"keep_s": 7776000, "legal_hold": false}
}

test_made_up_data_goes_after_30_days if {
	r := retention.result with input as recorded("admin", {"class": "synthetic"})
	r.keep_s == 2592000
}

test_other_recordings_stay_a_year if {
	r := retention.result with input as recorded("reader", {})
	r.keep_s == 31536000
}

test_a_broken_glass_stays_two_years_whatever_it_shows if {
	every labels in [{}, {"class": "customer-data"}, {"class": "synthetic"}] {
		r := retention.result with input as recorded("break-glass", labels)
		r.keep_s == 63072000
	}
}

test_logs_stay_two_years if {
	every class in {"decisions", "requests", "sessions"} {
		r := retention.result with input as {"class": class, "recording": null}
		r.keep_s == 63072000
	}
}

test_the_name_of_an_erased_person_goes_at_once if {
	r := retention.result with input as {"class": "identity", "recording": null}
	r == {"keep_s": 1, "legal_hold": false}
}
