# METADATA
# title: What of a session is recorded
# description: Everything, as the person saw it.
package sallyport.recording

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
