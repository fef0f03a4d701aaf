# METADATA
# title: Words about people that several points use
package sallyport.lib.people

# METADATA
# description: The group that reads everything and changes nothing.
auditors := "auditors"

# METADATA
# description: The group that owns these policies and ends what must end.
security := "security-admins"

# METADATA
# description: The group of which two look at a release first.
release_managers := "release-managers"

# METADATA
# description: Whether the person who asks is in a group.
in_group(name) if name in input.subject.groups
