/**
 * What functions of pg_catalog do, as data. A call that is in none of these lists is reported to policy by name, and on
 * a database with masked columns it is refused: the list of harmless ones is an allow-list.
 */
const set = (names: string): ReadonlySet<string> => new Set(names.trim().split(/\s+/))

/** Compute from their arguments, or tell of the session and the catalog. They run no SQL and read no table or file. */
export const harmlessFunctions = set(`
  abs ceil ceiling floor round trunc sign sqrt cbrt exp ln log log10 power pow mod div gcd lcm factorial pi degrees radians
  sin sind cos cosd tan tand cot cotd asin asind acos acosd atan atand atan2 atan2d sinh cosh tanh asinh acosh atanh
  width_bucket scale min_scale trim_scale random random_normal setseed erf erfc gamma lgamma
  length char_length character_length octet_length bit_length bit_count lower upper initcap casefold btrim ltrim rtrim lpad rpad
  left right substr substring position strpos overlay replace translate repeat reverse split_part string_to_array
  string_to_table array_to_string concat concat_ws format chr ascii md5 sha224 sha256 sha384 sha512 crc32 crc32c encode decode
  convert convert_from convert_to get_bit get_byte set_bit set_byte to_hex to_bin to_oct to_ascii unistr normalize
  is_normalized unicode_assigned quote_ident quote_literal quote_nullable parse_ident like notlike like_escape
  similar_escape similar_to_escape starts_with regexp_count regexp_instr regexp_like regexp_match regexp_matches
  regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr to_char to_date to_number to_timestamp
  now clock_timestamp statement_timestamp transaction_timestamp timeofday age date_part date_trunc date_bin extract
  date_add date_subtract isfinite justify_days justify_hours justify_interval make_date make_interval make_time make_timestamp
  make_timestamptz timezone overlaps
  count sum avg min max any_value array_agg string_agg bool_and bool_or every bit_and bit_or bit_xor corr covar_pop
  covar_samp regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop
  stddev_samp variance var_pop var_samp mode percentile_cont percentile_disc rank dense_rank percent_rank cume_dist
  row_number ntile lag lead first_value last_value nth_value range_agg range_intersect_agg xmlagg
  json_agg jsonb_agg json_object_agg jsonb_object_agg json_agg_strict jsonb_agg_strict json_object_agg_strict
  json_object_agg_unique json_object_agg_unique_strict jsonb_object_agg_strict jsonb_object_agg_unique
  jsonb_object_agg_unique_strict
  generate_series generate_subscripts unnest array_append array_cat array_dims array_fill array_length array_lower
  array_ndims array_position array_positions array_prepend array_remove array_replace array_reverse array_sample
  array_shuffle array_sort array_upper array_to_json cardinality trim_array num_nonnulls num_nulls
  row_to_json to_json to_jsonb json_array_elements json_array_elements_text json_array_length json_build_array
  json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object json_object_keys
  json_strip_nulls json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
  jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object
  jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
  jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first jsonb_path_query_first_tz jsonb_path_query_tz
  jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_typeof json_to_record json_to_recordset jsonb_to_record
  jsonb_to_recordset
  int2 int4 int8 float4 float8 numeric text varchar bpchar name date time timetz timestamp timestamptz interval money oid
  bool bit varbit char bytea uuid inet cidr macaddr macaddr8
  isempty lower_inc lower_inf upper_inc upper_inf range_merge multirange int4range int8range numrange tsrange tstzrange
  daterange int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange
  enum_first enum_last enum_range abbrev broadcast family host hostmask inet_merge inet_same_family masklen netmask
  network set_masklen macaddr8_set7bit area center diameter height width isclosed isopen npoints path pclose popen point
  polygon radius box circle line lseg slope bound_box diagonal
  to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_headline ts_rank ts_rank_cd ts_delete
  ts_filter setweight strip numnode querytree array_to_tsvector tsvector_to_array json_to_tsvector jsonb_to_tsvector
  tsquery_phrase ts_lexize ts_debug get_current_ts_config
  gen_random_uuid uuidv4 uuidv7 uuid_extract_timestamp uuid_extract_version
  xml xmlcomment xmltext xpath xpath_exists xml_is_well_formed xml_is_well_formed_content xml_is_well_formed_document xmlexists
  version current_database current_catalog current_schema current_schemas current_setting current_user session_user
  current_role user getdatabaseencoding pg_client_encoding inet_client_addr inet_client_port inet_server_addr
  inet_server_port pg_backend_pid pg_postmaster_start_time pg_conf_load_time pg_typeof pg_collation_for pg_is_in_recovery
  pg_my_temp_schema pg_is_other_temp_schema pg_trigger_depth pg_current_xact_id_if_assigned txid_current_if_assigned
  pg_current_snapshot txid_current_snapshot pg_encoding_to_char pg_char_to_encoding pg_jit_available
  format_type oidvectortypes col_description obj_description shobj_description has_any_column_privilege
  has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
  has_language_privilege has_parameter_privilege has_schema_privilege has_sequence_privilege has_server_privilege
  has_table_privilege has_tablespace_privilege has_type_privilege has_largeobject_privilege pg_has_role aclexplode acldefault
  makeaclitem row_security_active pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
  pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef
  pg_get_keywords pg_get_partition_constraintdef pg_get_partkeydef pg_get_ruledef pg_get_serial_sequence
  pg_get_statisticsobjdef pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_triggerdef
  pg_get_userbyid pg_get_viewdef pg_get_replica_identity_index pg_get_publication_tables pg_relation_is_publishable
  pg_relation_is_updatable pg_column_is_updatable pg_index_column_has_property pg_index_has_property
  pg_indexam_has_property pg_options_to_table pg_table_is_visible pg_type_is_visible pg_function_is_visible
  pg_operator_is_visible pg_opclass_is_visible pg_opfamily_is_visible pg_collation_is_visible pg_conversion_is_visible
  pg_statistics_obj_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
  pg_ts_template_is_visible pg_describe_object pg_identify_object pg_identify_object_as_address pg_get_object_address
  to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype
  to_regtypemod regclass pg_partition_ancestors pg_partition_root pg_partition_tree pg_inherits
  pg_relation_size pg_table_size pg_total_relation_size pg_indexes_size pg_database_size pg_tablespace_size
  pg_relation_filenode pg_size_pretty pg_size_bytes pg_column_size pg_column_compression pg_tablespace_location
  pg_sequence_parameters pg_sequence_last_value currval lastval pg_input_is_valid pg_input_error_info
  pg_blocking_pids pg_safe_snapshot_blocking_pids pg_stat_get_last_analyze_time pg_stat_get_live_tuples
  pg_stat_get_dead_tuples pg_stat_get_numscans pg_stat_get_tuples_returned pg_stat_get_tuples_fetched bernoulli system
  pg_settings_get_flags pg_timezone_abbrevs pg_timezone_names pg_basetype pg_char_to_encoding pg_encoding_max_length
  xid8 pg_lsn pg_wal_lsn_diff hashtext hashtextextended
`)

/** They change data or state of the database. */
export const writingFunctions = set(`
  nextval setval lo_creat lo_create lo_from_bytea lo_put lo_truncate lo_truncate64 lo_unlink lowrite
  pg_logical_emit_message pg_notify pg_current_xact_id txid_current gin_clean_pending_list brin_summarize_new_values
  brin_summarize_range brin_desummarize_range pg_restore_relation_stats pg_restore_attribute_stats
  pg_clear_relation_stats pg_clear_attribute_stats
`)

/** They run SQL that is handed to them, or read tables by name: what they do is not in the tree. */
export const dynamicFunctions = set(`
  set_config query_to_xml query_to_xml_and_xmlschema query_to_xmlschema table_to_xml table_to_xml_and_xmlschema
  table_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema database_to_xml
  database_to_xml_and_xmlschema database_to_xmlschema cursor_to_xml cursor_to_xmlschema ts_stat ts_rewrite dblink
  dblink_exec dblink_open dblink_fetch dblink_send_query dblink_get_result dblink_connect dblink_connect_u
  dblink_build_sql_insert dblink_build_sql_update dblink_build_sql_delete crosstab crosstab2 crosstab3 crosstab4
  crosstabn connectby xpath_table lo_get loread lo_open lo_close lo_lseek lo_lseek64 lo_tell lo_tell64 currtid2
`)

/** They reach the server's files, other sessions, replication or its configuration. */
export const adminFunctions = set(`
  lo_import lo_export pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_ls_dir pg_ls_logdir pg_ls_waldir
  pg_ls_tmpdir pg_ls_archive_statusdir pg_ls_replslotdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_summariesdir
  pg_file_write pg_file_read pg_file_rename pg_file_unlink pg_file_sync pg_file_length pg_logdir_ls
  pg_current_logfile pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings pg_config pg_reload_conf
  pg_rotate_logfile pg_cancel_backend pg_terminate_backend pg_log_backend_memory_contexts pg_promote pg_switch_wal
  pg_create_restore_point pg_backup_start pg_backup_stop pg_start_backup pg_stop_backup pg_wal_replay_pause
  pg_wal_replay_resume pg_export_snapshot pg_import_system_collations pg_extension_config_dump pg_nextoid
  pg_stop_making_pinned_objects pg_create_physical_replication_slot pg_create_logical_replication_slot
  pg_copy_physical_replication_slot pg_copy_logical_replication_slot pg_drop_replication_slot pg_replication_slot_advance
  pg_sync_replication_slots pg_logical_slot_get_changes pg_logical_slot_get_binary_changes pg_logical_slot_peek_changes
  pg_logical_slot_peek_binary_changes pg_replication_origin_advance pg_replication_origin_create
  pg_replication_origin_drop pg_replication_origin_session_reset pg_replication_origin_session_setup
  pg_replication_origin_xact_reset pg_replication_origin_xact_setup pg_stat_reset pg_stat_reset_shared
  pg_stat_reset_single_table_counters pg_stat_reset_single_function_counters pg_stat_reset_slru
  pg_stat_reset_replication_slot pg_stat_reset_subscription_stats pg_stat_get_activity pg_stat_get_backend_activity
`)

/** Locks and waits: they hold up others, or the connection itself. */
export const sessionFunctions = set(`
  pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared
  pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
  pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_sleep pg_sleep_for pg_sleep_until
`)

export type FunctionClass = 'harmless' | 'write' | 'dynamic' | 'admin' | 'session' | 'other'

/** The class of a function by its bare name, whatever schema it was found in: a dangerous name stays dangerous. */
export function classOfFunction(schema: string, name: string): FunctionClass {
  if (dynamicFunctions.has(name)) return 'dynamic'
  if (adminFunctions.has(name) || name.startsWith('binary_upgrade_')) return 'admin'
  if (writingFunctions.has(name)) return 'write'
  if (sessionFunctions.has(name)) return 'session'
  return harmlessFunctions.has(name) && (schema === '' || schema === 'pg_catalog') ? 'harmless' : 'other'
}
