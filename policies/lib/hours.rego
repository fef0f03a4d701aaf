# METADATA
# title: When people are at work
# description: |
#   A policy has no clock. The time of the question comes in as `input.time`, in the zone of the deployment (setting
#   `zone`), so that a decision can be computed again years later.
package sallyport.lib.hours

# METADATA
# description: Monday to Friday, from 08:00 until 18:00.
office if {
	input.time.weekday in {"Mon", "Tue", "Wed", "Thu", "Fri"}
	input.time.minute_of_day >= 8 * 60
	input.time.minute_of_day < 18 * 60
}
