import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Git's scripts know only repositories on this machine. A way gives them programs that git starts where it would start the
 * server's: each goes over SSH to a real sshd, which runs the server's program where the client is, with the client's
 * environment. What crosses is git's own protocol and one exact command; the path and the environment, which no server would
 * take from a stranger, lie in files that both sides know.
 */
export interface Way {
  readonly name: string
  /** `GIT_TEST_EXEC_PATH`: git's programs, those that are a server's excepted. */
  readonly programs: string
  readonly folder: string
  /** How often a server was asked since somebody looked last. */
  asked(): number
  /** From now on git's programs start this in the place of ssh. */
  through(ssh: readonly string[], host: string): void
}

export const services = ['git-upload-pack', 'git-receive-pack', 'git-upload-archive'] as const
const core = '/usr/lib/git-core'

/** Names of repositories that the scripts have not made yet, as the gateway's map has to have them. */
export const slots = 6000
export const slotName = (way: string, number: number) => `${way}/r${number}`

export function makeWay(folder: string, name: string): Way {
  const place = join(folder, name)
  const programs = join(place, 'programs')
  for (const each of ['slots', 'known', 'programs']) mkdirSync(join(place, each), { recursive: true })
  for (const each of readdirSync(core)) {
    if ((services as readonly string[]).includes(each)) symlinkSync(join(place, 'over-ssh'), join(programs, each))
    else symlinkSync(join(core, each), join(programs, each))
  }
  writeFileSync(join(place, 'log'), '')
  writeFileSync(join(place, 'next'), '0\n')
  let seen = 0
  return {
    name,
    programs,
    folder: mkdtempSync(join(place, 'work-')),
    asked() {
      const lines = readFileSync(join(place, 'log'), 'latin1').split('\n').length - 1
      const since = lines - seen
      seen = lines
      return since
    },
    through(ssh, host) {
      const file = join(place, 'over-ssh')
      writeFileSync(file, clientProgram(place, name, ssh, host))
      chmodSync(file, 0o755)
    },
  }
}

/** The repository is found as git's servers do, so that it has one name here however the client calls it. */
function clientProgram(place: string, way: string, ssh: readonly string[], host: string): string {
  return `#!/bin/sh
service=\${0##*/}
case "$#$1" in
1-*|1) exec ${core}/$service "$@" ;;
1*) ;;
*) exec ${core}/$service "$@" ;;
esac
found=
for end in /.git '' .git/.git .git; do
  if test -e "$1$end/HEAD" || test -f "$1$end"; then found=$1$end; break; fi
done
if test -d "$found"; then key=$(cd "$found" && pwd -P); else key=$PWD/\${found:-$1}; fi
known=${place}/known/$(printf %s "$key" | sha1sum | cut -c 1-40)
if ! test -s "$known"; then
  exec 9>${place}/lock
  flock 9
  if ! test -s "$known"; then
    read next <${place}/next
    echo $((next + 1)) >${place}/next
    echo $next >"$known"
  fi
  exec 9>&-
fi
read slot <"$known"
at=${place}/slots/$slot
export -p >"$at.env.$$"
printf %s "$PWD" >"$at.folder.$$"
printf %s "$1" >"$at.path.$$"
for each in env folder path; do mv "$at.$each.$$" "$at.$each"; done
echo "$service $slot $1" >>${place}/log
exec ${ssh.map(word => `'${word}'`).join(' ')} -T -o LogLevel=ERROR -o SendEnv=GIT_PROTOCOL ${host} "$service '${way}/r$slot'"
`
}

/** What sshd runs for both ways. */
export function serverProgram(folder: string): string {
  return `#!/bin/sh
set -- $SSH_ORIGINAL_COMMAND
service=$1
name=\${2#\\'}
name=\${name%\\'}
at=${folder}/\${name%%/*}/slots/\${name##*/r}
wire=\${GIT_PROTOCOL-none}
test -f "$at.env" || { echo >&2 "no such repository: $name"; exit 128; }
. "$at.env"
if test "$wire" = none; then unset GIT_PROTOCOL; else export GIT_PROTOCOL="$wire"; fi
folder=$(cat "$at.folder"; echo x)
path=$(cat "$at.path"; echo x)
cd "\${folder%x}" || exit 128
exec ${core}/$service "\${path%x}"
`
}
