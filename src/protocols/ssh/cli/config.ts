import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import type { CommandLine } from '../../../gateway/protocol.ts'
import { aliasOf, knownHost, publishedBy, type Server, serversOf } from './names.ts'
import { quoted, Store, shellWord } from './store.ts'

/**
 * Writes the entries for every server that the person may ask for into a file of ours; theirs includes it with one line.
 * A ticket is fetched when ssh is started, not before.
 */
export async function sshConfig(
  line: CommandLine,
  options: { readonly print?: boolean; readonly install?: boolean | string },
): Promise<number> {
  const store = new Store(line.folder, line.profile)
  const [servers, gateway] = await Promise.all([serversOf(line), publishedBy(line)])
  const text = entries(line.origin, store, servers)
  const known = knownHost(gateway.host, gateway.port, gateway.host_key)
  if (options.print === true) {
    for (const each of text.split('\n')) line.say(each)
    line.say(`# known_hosts: ${known}`)
    return 0
  }
  store.write(store.program, program(line, store), 0o700)
  store.write(store.config, text)
  store.write(store.knownHosts, `${known}\n`)
  const include = `Include ${quoted(store.config)}`
  line.say(`${store.config}: ${servers.map(each => each.name).join(', ') || 'no server that you may ask for yet'}`)
  line.say(`the gateway, in ${store.knownHosts}:`)
  line.say(`  ${known}`)
  if (options.install === undefined) {
    line.say('Put this line first into ~/.ssh/config, or run this again with --install:')
    line.say(`  ${include}`)
  } else line.say(install(include, options.install === true ? ownConfig() : String(options.install)))
  if (servers.length > 0) line.say(`Then: ssh ${servers[0]!.name}`)
  return 0
}

/** OpenSSH looks in the home of the user's account, whatever $HOME says. */
function ownConfig(): string {
  return join(userInfo().homedir, '.ssh/config')
}

/**
 * The first that says a thing wins in ssh_config. Where no ticket can be had, the exec has said why, and ssh must not go
 * on to whatever else has this name.
 */
function entries(origin: string, store: Store, servers: readonly Server[]): string {
  const blocks = servers.flatMap(({ name, roles }) => {
    const aliases = [undefined, ...roles].map(role => ({ role, alias: aliasOf(name, role) }))
    return [
      ...aliases.map(({ role, alias }) => {
        const words = [shellWord(store.program), name, ...(role === undefined ? [] : [role])]
        return `Match originalhost ${alias} exec ${quoted(words.join(' '))}\n  Include ${quoted(store.settings(alias))}`
      }),
      `Host ${aliases.map(each => each.alias).join(' ')}\n  ProxyCommand false`,
    ]
  })
  return `# Written by \`sallyport ssh-config\` for ${origin}: run it again when you may ask for other servers.
# NAME is your role there, NAME.ROLE one of several. The user name does not matter: the ticket says who you are.
${blocks.map(block => `\n${block}\n`).join('')}`
}

/** A look at a file is all that it costs where the ticket was found to work a moment ago. */
function program(line: CommandLine, store: Store): string {
  return `#!/bin/sh
# Written by \`sallyport ssh-config\`. ssh runs it before it connects: RESOURCE [ROLE]
read -r until 2>/dev/null < ${shellWord(join(store.folder, 'hosts'))}/"$1\${2:+.$2}".fresh
[ "\${until:-0}" -gt "$(date +%s)" ] && exit 0
exec ${line.program.map(shellWord).join(' ')} ssh-ticket "$1" \${2:+--role "$2"}
`
}

/** First, so that no `Host` of theirs narrows it. */
function install(include: string, named: string): string {
  const file = existsSync(named) ? realpathSync(named) : named
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  if (text.split('\n').some(each => each.trim() === include)) return `${file} includes it already`
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(`${file}.sallyport`, text === '' ? `${include}\n` : `${include}\n\n${text}`, { mode: 0o600 })
  renameSync(`${file}.sallyport`, file)
  return `${file} includes it now`
}
