import { SallyportError } from '../../../errors.ts'
import type { CommandLine } from '../../../gateway/protocol.ts'
import { publishedBy } from './names.ts'

const ca = '/etc/ssh/sallyport_ca.pub'
const drop = '/etc/ssh/sshd_config.d/10-sallyport.conf'
const login = /^[a-z_][a-z0-9_.-]{0,31}$/

/** What a target puts into its sshd's configuration, so that it takes the certificates that gateways sign for a session. */
export async function harden(
  line: CommandLine,
  logins: readonly string[],
  { script }: { readonly script?: boolean },
): Promise<number> {
  const wrong = logins.find(name => !login.test(name))
  if (wrong !== undefined) throw new SallyportError('bad_request', `'${wrong}' is no name of a login`)
  const { target_ca } = await publishedBy(line)
  const print = script === true ? asScript : asText
  for (const each of print(target_ca, settings(logins))) line.say(each)
  return 0
}

function settings(logins: readonly string[]): string[] {
  const general = [
    '# A certificate of this CA opens the login that it names, and no other. It lives a minute, names the session in the',
    "# log, and is made by Sallyport's gateways alone. For other names, see AuthorizedPrincipalsFile in sshd_config(5).",
    `TrustedUserCAKeys ${ca}`,
  ]
  if (logins.length === 0) return general
  return [
    ...general,
    '# These logins are reached through Sallyport alone: no key or password of anybody opens them.',
    `Match User ${logins.join(',')}`,
    '  AuthorizedKeysFile none',
    '  AuthenticationMethods publickey',
    'Match all',
  ]
}

function asText(key: string, lines: readonly string[]): string[] {
  return [
    `# 1. The gateways' CA, as ${ca} (0644):`,
    `#    ${key}`,
    `# 2. This, as ${drop} (in sshd_config itself where that has no Include):`,
    ...lines,
    '# 3. sshd -t && systemctl reload ssh',
    '# 4. In resources/data.yaml, options.host_keys: what `ssh-keyscan -t ed25519 HOST` prints, compared on the host itself.',
  ]
}

function asScript(key: string, lines: readonly string[]): string[] {
  return [
    '#!/bin/sh',
    'set -e',
    'umask 022',
    'root=$1',
    `printf '%s\\n' '${key}' > "$root${ca}"`,
    'mkdir -p "$root/etc/ssh/sshd_config.d"',
    `cat > "$root${drop}" <<'END'`,
    ...lines,
    'END',
    '[ -n "$root" ] && exit 0',
    'sshd -t',
    'systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || kill -HUP "$(cat /run/sshd.pid)"',
  ]
}
