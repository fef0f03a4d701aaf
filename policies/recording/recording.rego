# METADATA
# title: What of a session is recorded
# description: Everything, as the person saw it.
package sallyport.recording

import data.sallyport.lib.places

# METADATA
# description: The whole session with all results, in the kernel before anything is forwarded.
# custom: { rule: recording.default }
default result := {
	"level": "full",
	"results": "all",
	"head_rows": 0,
	"strict": false,
	"originals": "drop",
}

# METADATA
# title: In production, and where the glass was broken, everything is on disk before it is forwarded
# description: That costs a write to the disk for each exchange. A gateway that cannot write lets nothing through.
# custom: { rule: recording.strict }
result := {
	"level": "full",
	"results": "all",
	"head_rows": 0,
	"strict": true,
	"originals": "drop",
} if {
	strictly
}

strictly if places.production

strictly if input.role == "break-glass"
