# Git: what is fetched and pushed, known before the server sees it. Each ref of a push is an action of its own, with its
# commits, paths and findings in `input.action.facts`. What stands here is enforced whatever the server's own hooks say.
package sallyport.action

import data.sallyport.lib.people

is_git if input.action.protocol == "git"

# Yours to change: which branches are protected, which are releases, which repositories hold rules (lib/people.rego: who releases).
protected_names := {"refs/heads/main", "refs/heads/master"}

release_prefix := "refs/heads/release/"

# Where secrets are looked for (options.push.secrets): what becomes of a push that could not be looked through as a whole, for
# it brings a file of more than 4 MiB or more than 200 commits. "ask" a security admin, "deny", or "allow" unseen.
unscanned := "ask"

# Whose content decides what others may do: these policies themselves, for one.
rule_repositories := {"policies", "sallyport-policies"}

largest_file := 50 * 1048576

largest_pack := 500 * 1048576

# Fetching, and what comes with it.
fetching := {"archive", "fetch", "lfs", "open"}

# METADATA
# title: Readers fetch
# custom: { rule: action.git-fetch }
allow if {
	is_git
	input.role in {"admin", "break-glass", "reader", "writer"}
	input.action.kind in fetching
	input.action.verb == "read"
}

# METADATA
# title: Writers, admins and who broke the glass push
# description: What they may not push the rules below say. Their own branches they may rewrite and delete.
# custom: { rule: action.git-push }
allow if {
	is_git
	input.role in {"admin", "break-glass", "writer"}
	input.action.kind in {"lfs", "open", "push"}
}

# METADATA
# title: Commands of the git server are for admins
# custom: { rule: action.git-exec }
allow if {
	is_git
	input.role == "admin"
	input.action.kind == "exec"
}

# METADATA
# title: What was lost is brought back by admins
# description: Commits that a force-push or a deletion took off the server may hold what somebody meant to take off.
# custom: { rule: action.git-restore }
allow if {
	is_git
	input.role in {"admin", "break-glass"}
	input.action.kind == "restore"
}

# METADATA
# title: Readers push nothing
# custom: { rule: action.git-reader }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": "a reader does not push",
	"remedy": "ask for the role writer",
} if {
	is_git
	input.role == "reader"
	input.action.kind in {"lfs", "open", "push"}
	input.action.verb != "read"
}

# METADATA
# title: Nobody else runs commands of the git server
# description: They make repositories, and say who may do what in them, past everything that stands here.
# custom: { rule: action.git-exec-others }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.facts.program} is a command of the git server itself, which admins run",
	"remedy": "ask for the role admin, or ask somebody who has it",
} if {
	is_git
	input.action.kind == "exec"
	input.role != "admin"
}

# METADATA
# title: Nobody else brings back what was lost
# custom: { rule: action.git-restore-others }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"what a push took off {input.action.facts.repository} is seen and brought back by admins",
	"remedy": "ask for the role admin, or break the glass; your own clone may have it still (git reflog)",
} if {
	is_git
	input.action.kind == "restore"
	not input.role in {"admin", "break-glass"}
}

# METADATA
# title: What others build on is neither rewritten nor deleted
# description: |
#   `unknown` is a push whose old and new cannot be compared; a deletion that a creation follows is `force`. Tags are what
#   others have built already. Who breaks the glass may, and what was lost stays restorable (`sallyport git restore`).
# custom: { rule: action.git-force }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.facts.ref} is protected: a push that loses commits is refused",
	"remedy": "push a commit that reverts instead, or rebase onto what is there",
} if {
	is_push
	input.role != "break-glass"
	input.action.facts.kind in {"delete", "force", "unknown"}
	protected
}

# METADATA
# title: What is protected takes signed commits only
# description: |
#   `verified` is a signature by one of the resource's `signers`. Commits that are not told are none of these: `action.git-cut`.
# custom: { rule: action.git-unsigned }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{count(unsigned)} commits for {input.action.facts.ref} bear no signature that is known here",
	"remedy": "sign them (git rebase --exec 'git commit --amend --no-edit -S' BASE), or have your key listed (options.push: signers for SSH, openpgp for GPG)",
} if {
	is_push
	protected
	not imported
	count(unsigned) > 0
}

# METADATA
# title: What is protected is looked at whole
# custom: { rule: action.git-cut }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"this push to {input.action.facts.ref} is larger than what is looked at ({cut_words})",
	"remedy": "push it in smaller parts",
} if {
	is_push
	protected
	not imported
	count(cut_coming) > 0
}

# METADATA
# title: Large files do not belong into a repository
# custom: { rule: action.git-size }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"a file of {input.action.facts.largest_bytes} bytes, or a pack of {input.action.facts.pack_bytes}, is too large",
	"remedy": "keep it out of git, or in LFS; a long history comes in parts",
} if {
	is_push
	too_large
}

# METADATA
# title: Secrets do not belong into a repository
# description: |
#   Where the resource has its blobs looked at. The secret itself is neither shown nor kept; whoever pushed it once should
#   hold it for known, and change it. Holds for who broke the glass as well.
# custom: { rule: action.git-secret }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{found.path}:{found.line} in {substring(found.commit, 0, 12)} looks like a secret ({found.detector})",
	"remedy": "take it out of the history (git rebase -i), and change the secret",
} if {
	is_push
	some found in input.action.facts.secrets
}

# METADATA
# title: What was not looked through for secrets does not come unseen
# description: Where `unscanned` says so. Who breaks the glass cannot wait for it.
# custom: { rule: action.git-unscanned-refused }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"this push to {input.action.facts.ref} is more than is looked through for secrets",
	"remedy": "push 200 commits at a time, and files of more than 4 MiB through LFS",
} if {
	unscanned == "deny"
	more_than_scanned
}

# METADATA
# title: What was not looked through for secrets is seen by a security admin first
# custom: { rule: action.git-unscanned }
ask contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"this push to {input.action.facts.ref} is more than is looked through for secrets: a security admin looks at it first; nobody is asked for 200 commits at a time, without files of more than 4 MiB",
} if unscanned_asks

# METADATA
# title: A history from elsewhere comes with a security admin's word
# description: |
#   What an admin brings under a protected name that the server does not have yet: its commits bear signatures of others, or
#   none, and are more than are told. Nobody builds upon it so far.
# custom: { rule: action.git-import }
ask contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.facts.ref} comes with {input.action.facts.commits_total} commits of which not all are known or signed: a security admin looks at it first",
} if import_asks

# METADATA
# title: A release takes two people besides who pushes it
# custom: { rule: action.git-release }
ask contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.facts.ref} is a release: two release managers look at it first",
} if {
	is_push
	input.role != "break-glass"
	releases
}

# METADATA
# title: Nobody changes alone what decides for others
# description: The repository of these policies, and the administration repository of the git server itself.
# custom: { rule: action.git-rules }
ask contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{input.action.facts.repository} decides what others may do ({changed_paths}): a security admin looks at it first",
} if {
	is_push
	decides_for_others
}

# What of it changes, as far as it fits on a line.
changed_paths := concat(", ", array.concat(some_paths, more_paths))

some_paths := [substring(changed.path, 0, 100) | some changed in array.slice(input.action.facts.paths, 0, 3)]

default more_paths := []

more_paths := [$"{input.action.facts.paths_total - 3} more"] if input.action.facts.paths_total > 3

# Who looks at it. Where both rules ask, the security admin comes first, and the release managers after.
git_approval := {"stages": array.concat(rule_stages, release_stages), "expires_s": 3600}

default rule_stages := []

rule_stages := [{"approvers": [people.security], "quorum": 1, "channel": "security"}] if asks_security

asks_security if decides_for_others

asks_security if unscanned_asks

asks_security if import_asks

default release_stages := []

release_stages := [{"approvers": [people.release_managers], "quorum": 2, "channel": "releases"}] if releases

is_push if {
	is_git
	input.action.kind == "push"
}

# Servers whose file system tells no upper from lower case put Release/1 beside release/.
folded := lower(input.action.facts.ref)

protected if {
	some name in protected_names
	folded == lower(name)
}

protected if releases

protected if startswith(folded, "refs/tags/")

releases if startswith(folded, lower(release_prefix))

imported if {
	input.role == "admin"
	input.action.facts.kind == "create"
}

import_asks if {
	is_push
	imported
	protected
	unknown_history
}

unknown_history if count(unsigned) > 0

unknown_history if count(cut_coming) > 0

# That what is lost is more than is told (`lost` in `cut`) is nobody's question: how much it is stands in `lost_total`.
cut_coming := {list | some list in {"commits", "paths"}; list in input.action.facts.cut}

cut_words := concat(", ", cut_coming)

more_than_scanned if {
	is_push
	input.role != "break-glass"
	"secrets" in input.action.facts.cut
}

unscanned_asks if {
	unscanned == "ask"
	more_than_scanned
}

unsigned contains commit.id if {
	some commit in input.action.facts.commits
	not signed(commit)
}

signed(commit) if commit.signature.status == "verified"

too_large if input.action.facts.largest_bytes > largest_file

too_large if input.action.facts.pack_bytes > largest_pack

decides_for_others if input.action.facts.repository in rule_repositories

decides_for_others if input.action.facts.administration
