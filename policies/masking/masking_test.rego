package sallyport.masking_test

import data.sallyport.masking

columns(role) := {column |
	r := masking.result with input as {"role": role}
	some rule in r.rules
	column := $"{rule.match.table}.{rule.match.column}"
}

test_readers_and_writers_see_masked if {
	wanted := {"customers.email", "customers.national_id", "*.card_number", "employees.salary"}
	columns("reader") == wanted
	columns("writer") == wanted
}

test_a_role_nobody_thought_of_sees_masked if count(columns("owner")) == 4

test_admins_see_everything if {
	r := masking.result with input as {"role": "admin"}
	r == {"rules": set()}
}

test_transforms_are_as_strict_as_agreed if {
	r := masking.result with input as {"role": "reader"}
	transforms := {rule.match.column: rule.transform | some rule in r.rules}
	transforms == {
		"email": {"kind": "partial", "keep_last": 8},
		"national_id": {"kind": "redact"},
		"card_number": {"kind": "partial", "keep_last": 4},
		"salary": {"kind": "null"},
	}
}

test_a_role_sees_the_classes_that_are_named_for_it if {
	r := masking.result with input as {"role": "support"} with masking.sees as {"support": {"contact"}}
	{rule.rule | some rule in r.rules} == {"masking.national-id", "masking.card-number", "masking.salary"}
}

test_who_broke_the_glass_sees_masked if count(columns("break-glass")) == 4

test_made_up_data_is_shown if {
	r := masking.result with input as {"role": "reader", "resource": {"protocol": "postgres", "labels": {"class": "synthetic"}}}
	r.rules == set()
}
