import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import * as opaWasm from '@open-policy-agent/opa-wasm'
import { describe, expect, test } from 'vitest'
import { languageBuiltins, nativeBuiltins, restrictCapabilities } from '../../src/policy/capabilities.ts'
import { readTar } from '../../src/policy/tar.ts'
import { opaPath } from './support.ts'

interface Wrapper {
  loadPolicySync(
    wasm: Uint8Array,
    memory: { initial: number },
  ): {
    mem: { buffer: ArrayBuffer }
    wasmInstance: { exports: { builtins(): number; opa_json_dump(at: number): number } }
  }
}

const wrapper = (opaWasm as unknown as { default: Wrapper }).default

interface Builtin {
  readonly name: string
  readonly decl: { readonly args?: readonly unknown[] }
}

const current = execFileSync(opaPath(), ['capabilities', '--current'], { encoding: 'utf8', maxBuffer: 16 << 20 })
const all = (JSON.parse(current) as { builtins: Builtin[] }).builtins

/** Which of these builtins a module that calls each of them leaves to its host, as its own `builtins()` says. */
function hostCalls(builtins: readonly Builtin[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-probe-'))
  try {
    const argument = (rule: number) => (_: unknown, k: number) => `input.a${rule}_${k}`
    const calls = builtins.map(({ name, decl }, i) => `${name}(${(decl.args ?? []).map(argument(i)).join(', ')})`)
    const rules = calls.map((call, i) => `r${i} if { x := ${call}; x == input.z }`)
    writeFileSync(join(folder, 'p.rego'), `package p\n${rules.join('\n')}\n`)
    const build = ['build', '-t', 'wasm', '-e', 'p', 'p.rego', '-o', 'b.tar.gz']
    execFileSync(opaPath(), build, { cwd: folder, stdio: 'pipe' })
    const wasm = readTar(gunzipSync(readFileSync(join(folder, 'b.tar.gz')))).get('policy.wasm')!
    const { mem, wasmInstance } = wrapper.loadPolicySync(wasm, { initial: 64 })
    const { builtins: table, opa_json_dump: dump } = wasmInstance.exports
    const at = dump(table())
    const bytes = Buffer.from(mem.buffer)
    return Object.keys(JSON.parse(bytes.subarray(at, bytes.indexOf(0, at)).toString()) as object)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe('the capabilities', () => {
  test('PO4: hold no clock, network, randomness or environment, and no network address', () => {
    const caps = JSON.parse(restrictCapabilities(current)) as { builtins: Builtin[]; allow_net: unknown[] }
    expect(caps.allow_net).toEqual([])
    expect(caps.builtins.map(b => b.name).sort()).toEqual([...nativeBuiltins, ...languageBuiltins].sort())
    const outside = /^(http|time|rand|net\.lookup|opa|uuid|io|crypto|rego\.parse|trace|print)/
    expect(caps.builtins.filter(b => outside.test(b.name))).toEqual([])
  })

  test('a compiler that lacks one of them is refused', () => {
    expect(() => restrictCapabilities('{"builtins": []}')).toThrow('use the version that this build was made for')
  })

  test('none of them is left to the host by the compiler, and each is one that it knows', () => {
    const wanted = all.filter(b => nativeBuiltins.includes(b.name) && !['eq', 'assign'].includes(b.name))
    expect(wanted).toHaveLength(nativeBuiltins.length - 2)
    const needed = hostCalls(wanted)
    const clock = hostCalls(all.filter(b => b.name === 'time.now_ns'))
    expect(clock).toEqual(['time.now_ns']) // the probe sees a host call where there is one
    expect(needed).toEqual([])
  })
})
