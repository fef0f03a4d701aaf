package sallyport.lib.hours_test

import data.sallyport.lib.hours

test_the_office_is_open_on_working_days if {
	every day in ["Mon", "Tue", "Wed", "Thu", "Fri"] {
		hours.office with input.time as {"weekday": day, "minute_of_day": 600}
	}
}

test_the_office_is_closed_on_weekends if {
	every day in ["Sat", "Sun"] {
		not hours.office with input.time as {"weekday": day, "minute_of_day": 600}
	}
}

test_the_first_and_the_last_minute if {
	hours.office with input.time as {"weekday": "Mon", "minute_of_day": 480}
	hours.office with input.time as {"weekday": "Mon", "minute_of_day": 1079}
	not hours.office with input.time as {"weekday": "Mon", "minute_of_day": 479}
	not hours.office with input.time as {"weekday": "Mon", "minute_of_day": 1080}
}
