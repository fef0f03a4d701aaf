package sallyport.lib.people_test

import data.sallyport.lib.people

test_a_group_is_matched_whole if {
	people.in_group("dbas") with input as {"subject": {"groups": ["dbas"]}}
	not people.in_group("dbas") with input as {"subject": {"groups": ["dbas2"]}}
}
