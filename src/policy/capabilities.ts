import { canonical, type Json } from '../canonical.ts'

/**
 * The builtins that a policy may call: those that the compiler turns into WASM itself, and `rego.metadata.*`, which it
 * turns into constants. What is not here would be a call out of the module (clock, network, randomness, text functions
 * that differ from OPA's own). `test/policy/capabilities.test.ts` asks the compiler again, one builtin at a time.
 */
export const nativeBuiltins: readonly string[] = `
  abs and array.concat array.flatten array.reverse array.slice assign base64.decode base64.encode
  base64.is_valid base64url.decode base64url.encode bits.and bits.lsh bits.negate bits.or bits.rsh bits.xor
  ceil concat contains count div endswith eq equal floor format_int glob.match graph.reachable gt gte indexof
  intersection is_array is_boolean is_null is_number is_object is_set is_string json.filter json.is_valid
  json.marshal json.remove json.unmarshal lower lt lte max min minus mul neq net.cidr_contains
  net.cidr_intersects numbers.range object.filter object.get object.keys object.remove object.union
  object.union_n or plus product regex.find_all_string_submatch_n regex.is_valid regex.match
  rego.metadata.chain rego.metadata.rule rem replace round sort split startswith strings.replace_n
  strings.reverse substring sum to_number trim trim_left trim_prefix trim_right trim_space trim_suffix
  type_name union upper walk
`
  .trim()
  .split(/\s+/)

/** What the language itself needs: membership, template strings, test cases. */
export const languageBuiltins: readonly string[] = [
  'internal.member_2',
  'internal.member_3',
  'internal.template_string',
  'internal.test_case',
]

/**
 * The capabilities file for one version of the compiler, from what `opa capabilities --current` says of itself.
 * @throws Error when the compiler lacks one of the builtins: this build was not made for it.
 */
export function restrictCapabilities(current: string): string {
  const all = JSON.parse(current) as { builtins: { name: string }[]; [key: string]: unknown }
  const wanted = new Set([...nativeBuiltins, ...languageBuiltins])
  const builtins = all.builtins.filter(builtin => wanted.delete(builtin.name))
  if (wanted.size > 0)
    throw new Error(`this opa has no builtin ${[...wanted].join(', ')}: use the version that this build was made for`)
  return canonical({ ...all, builtins, allow_net: [] } as Json)
}
