# Git: what is fetched and pushed, known before the server sees it. Each ref of a push is an action of its own, with its
# commits, paths and findings in `input.action.facts`. What stands here is enforced whatever the server's own hooks say.
package sallyport.action

import data.sallyport.lib.people

is_git if input.action.protocol == "git"

# Yours to change: which branches are protected, which are releases, which repositories hold rules (lib/people.rego: who releases).
protected_names := {"refs/heads/main", "refs/heads/master"}

release_prefix := "refs/heads/release/"

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
#   `verified` is a signature by one of the resource's `signers`. A list that was cut was not looked at whole, and is refused:
#   push it in smaller parts.
# custom: { rule: action.git-unsigned }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"{count(unsigned)} commits for {input.action.facts.ref} bear no signature that is known here",
	"remedy": "sign them (git rebase --exec 'git commit --amend --no-edit -S' BASE), or have your key listed (options.push: signers for SSH, openpgp for GPG)",
} if {
	is_push
	protected
	count(unsigned) > 0
}

# METADATA
# title: What is protected is looked at whole
# custom: { rule: action.git-cut }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"this push to {input.action.facts.ref} is larger than what is looked at",
	"remedy": "push it in smaller parts",
} if {
	is_push
	protected
	input.action.facts.cut
}

# METADATA
# title: Large files do not belong into a repository
# custom: { rule: action.git-size }
deny contains {
	"rule": rego.metadata.rule().custom.rule,
	"message": $"a file of {input.action.facts.largest_bytes} bytes, or a pack of {input.action.facts.pack_bytes}, is too large",
	"remedy": "keep it out of git, or in LFS",
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

rule_stages := [{"approvers": [people.security], "quorum": 1, "channel": "security"}] if decides_for_others

default release_stages := []

release_stages := [{"approvers": [people.release_managers], "quorum": 2, "channel": "releases"}] if releases

is_push if {
	is_git
	input.action.kind == "push"
}

protected if input.action.facts.ref in protected_names

protected if releases

protected if startswith(input.action.facts.ref, "refs/tags/")

releases if startswith(input.action.facts.ref, release_prefix)

unsigned contains commit.id if {
	some commit in input.action.facts.commits
	not signed(commit)
}

signed(commit) if commit.signature.status == "verified"

too_large if input.action.facts.largest_bytes > largest_file

too_large if input.action.facts.pack_bytes > largest_pack

decides_for_others if input.action.facts.repository in rule_repositories

decides_for_others if input.action.facts.administration
