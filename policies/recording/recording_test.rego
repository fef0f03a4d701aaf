package sallyport.recording_test

import data.sallyport.recording

test_everything_is_recorded_and_no_original_is_kept if {
	r := recording.result with input as {"role": "admin"}
	r == {"level": "full", "results": "all", "head_rows": 0, "strict": false, "originals": "drop"}
}
