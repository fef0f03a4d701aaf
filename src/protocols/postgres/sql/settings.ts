/**
 * Settings that decide how text is read or whose rights apply. The wire asks the target for these values at connect and
 * watches them in ParameterStatus; a SET of one of them is refused whatever policy says. `null`: left as the lease made it.
 */
export const pinnedSettings: ReadonlyMap<string, string | null> = new Map<string, string | null>([
  ['standard_conforming_strings', 'on'],
  ['client_encoding', 'UTF8'],
  ['backslash_quote', null],
  ['escape_string_warning', null],
  ['transform_null_equals', 'off'],
  ['search_path', null],
  ['role', null],
  ['session_authorization', null],
  ['session_replication_role', null],
  ['transaction_read_only', null],
  ['default_transaction_read_only', null],
  ['local_preload_libraries', null],
  ['session_preload_libraries', null],
  ['dynamic_library_path', null],
  ['allow_system_table_mods', null],
  ['zero_damaged_pages', null],
  ['ignore_system_indexes', null],
  ['plpgsql.variable_conflict', null],
  ['restrict_nonsystem_relation_kind', null],
  ['debug_print_parse', null],
  ['debug_print_plan', null],
  ['debug_print_rewritten', null],
  ['log_statement', null],
  ['log_min_messages', null],
  ['log_min_error_statement', null],
  ['log_min_duration_statement', null],
])

/** Watched in ParameterStatus: any other value ends the session. */
export const watchedSettings: ReadonlyMap<string, string> = new Map(
  [...pinnedSettings].flatMap(([name, value]) =>
    value !== null && (name === 'standard_conforming_strings' || name === 'client_encoding')
      ? [[name, value] as const]
      : [],
  ),
)

/**
 * Why a SET or RESET is refused, or null. `value` is what the text sets, when it is one word: setting a pinned setting
 * to the value it has is harmless, and drivers do so.
 * @param back it comes back to what the connection began with
 */
export function refuseSetting(name: string, value: string | null, back: boolean): string | null {
  const setting = name.toLowerCase()
  if (!pinnedSettings.has(setting)) return null
  if (setting === 'search_path') {
    if (back || (value !== null && isEmptyPath(value))) return null
    return 'of search_path only the empty one is followed by the gateway: write the names of schemas out'
  }
  const pinned = pinnedSettings.get(setting)
  if (pinned !== null && value !== null && sameValue(setting, value)) return null
  if (setting === 'default_transaction_read_only' || setting === 'transaction_read_only')
    return value !== null && /^(on|true|yes|1)$/i.test(value) ? null : pinnedMessage(setting)
  return pinnedMessage(setting)
}

/** Where names are then looked up is certain: in pg_catalog, and among this connection's temporary tables. */
export const isEmptyPath = (value: string): boolean => value === '' || value === '""' || value === 'pg_catalog'

function sameValue(setting: string, value: string): boolean {
  if (setting === 'client_encoding') return /^(utf-?8|unicode)$/i.test(value)
  if (setting === 'standard_conforming_strings') return /^(on|true|yes|1)$/i.test(value)
  return /^(off|false|no|0)$/i.test(value)
}

const pinnedMessage = (setting: string): string =>
  `the setting ${setting} is pinned by the gateway: leave it as it is, and write names and texts so that they do not depend on it`
