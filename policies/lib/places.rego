# METADATA
# title: Words about places that several points use
# description: |
#   Labels are yours: a resource carries them in resources/data.yaml. These policies know two, `env` (development, staging,
#   production) and `class` (whose data lies there).
package sallyport.lib.places

# METADATA
# description: Whether the resource is one that customers stand on.
production if input.resource.labels.env == "production"

# METADATA
# description: Whether it is one where a mistake costs nobody anything.
development if input.resource.labels.env == "development"
