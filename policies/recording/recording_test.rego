package sallyport.recording_test

import data.sallyport.recording

test_everything_is_recorded_and_no_original_is_kept if {
	r := recording.result with input as {"role": "admin"}
	r == {"level": "full", "results": "all", "head_rows": 0, "strict": false, "originals": "drop"}
}

test_production_and_a_broken_glass_are_on_disk_first if {
	on_production := {"role": "reader", "resource": {"labels": {"env": "production"}}}
	recording.result.strict with input as on_production
	recording.result.strict with input as {"role": "break-glass", "resource": {"labels": {"env": "staging"}}}
}
