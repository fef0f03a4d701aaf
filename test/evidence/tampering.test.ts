import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { archiveEnd, member } from '../../src/evidence/archive.ts'
import { edited, type Files, packed, pieces, unpacked, verify } from './archives.ts'
import { type EvidenceWorld, evidenceWorld } from './world.ts'

let world: EvidenceWorld
let bytes: Buffer
let other: Buffer
let key: string

beforeAll(async () => {
  world = await evidenceWorld()
  const made = await world.recorded()
  bytes = await world.bundle({ session: made.session })
  const second = await world.recorded('another order')
  other = await world.bundle({ session: second.session })
  key = world.sequencer.vkey
})
afterAll(() => world.close())

async function flaws(changed: Uint8Array): Promise<string> {
  const report = await verify(changed, key)
  expect(report.ok).toBe(false)
  expect(report.proved).toEqual([])
  return report.flaws.join('\n')
}
const without = async (name: RegExp) => packed((await unpacked(bytes)).filter(file => !name.test(file.name)))
// biome-ignore lint/suspicious/noExplicitAny: lines of a file
const swapped = (lines: any[], member: string) => {
  const [a, b] = [lines[0][member], lines[1][member]]
  lines[0][member] = b
  lines[1][member] = a
}

describe('a bundle that was changed', () => {
  test('RE3: a file that is missing, whichever it is, is named', async () => {
    for (const { name } of await unpacked(bytes)) {
      const found = await flaws(packed((await unpacked(bytes)).filter(file => file.name !== name)))
      expect(found, name).toMatch(/missing|cut off|before|without|names|not in this bundle|no bundle/)
    }
  })

  test('RE3: a byte changed anywhere is a flaw', async () => {
    const step = Math.max(1, Math.floor(bytes.length / 120))
    for (let at = 7; at < bytes.length; at += step) {
      const changed = Buffer.from(bytes)
      changed[at]! ^= 1 << (at % 8)
      expect((await verify(changed, key)).ok, `byte ${at}`).toBe(false)
    }
  })

  test('RE3: cut anywhere, or with something behind its end, it is a flaw', async () => {
    for (let cut = 1; cut < bytes.length; cut += Math.floor(bytes.length / 25))
      expect((await verify(bytes.subarray(0, cut), key)).ok).toBe(false)
    for (const cut of [1, 512, 1024, 1025])
      expect(await flaws(bytes.subarray(0, bytes.length - cut))).toMatch(/cut off|damaged/)
    expect(await flaws(Buffer.concat([bytes, Buffer.from('x')]))).toContain('behind the end')
  })

  test('a vote that was altered, added or dropped', async () => {
    const names = /^requests-/
    expect(await flaws(await edited(bytes, names, ([row]) => void (row.votes[0].answer = 'deny')))).toContain(
      'answer is shown as "deny", but the log says "approve"',
    )
    expect(
      await flaws(await edited(bytes, names, ([row]) => void (row.votes[0].approver_id = world.ada.id))),
    ).toContain("it is the requester's own")
    expect(await flaws(await edited(bytes, names, ([row]) => void (row.votes = [])))).toContain('the log has a vote')
    expect(
      await flaws(await edited(bytes, names, ([row]) => void row.votes.push({ ...row.votes[0], id: 'vot_2' }))),
    ).toContain('the log has no event vote.cast')
    expect(await flaws(await edited(bytes, names, ([row]) => void (row.reason = 'something harmless')))).toContain(
      'NOT what its hash and its votes bind',
    )
    expect(await flaws(await edited(bytes, names, ([row]) => void (row.grant.ends_at_ms += 3_600_000)))).toContain(
      'ends_at_ms is shown as',
    )
    expect(await flaws(await edited(bytes, names, ([row]) => void (row.grant = null)))).toContain('the log has a grant')
  })

  test('RE4: an event that was altered, dropped, moved, or whose proof is that of another', async () => {
    const names = /^log\/events/
    expect(await flaws(await edited(bytes, names, lines => swapped(lines, 'inclusion')))).toContain(
      'leaf, place or path was changed',
    )
    expect(await flaws(await edited(bytes, names, lines => void lines.pop()))).toContain(
      'its SHA-256 is not the one in the manifest',
    )
    expect(await flaws(await edited(bytes, names, lines => lines.reverse()))).toContain('out of order')
    expect(
      await flaws(
        await edited(bytes, names, lines => lines.map(line => ({ ...line, body: line.body.replace('4711', '4712') }))),
      ),
    ).toContain('its body was changed')
    expect(
      await flaws(
        await edited(bytes, names, ([line]) => void (line.leaf = line.leaf.replace(/"at_ms":\d/, '"at_ms":9'))),
      ),
    ).toContain('leaf, place or path was changed')
    expect(
      await flaws(await edited(bytes, names, lines => lines.filter(line => !line.leaf.includes('vote.cast')))),
    ).toContain('no event vote.cast')
  })

  test('a decision that was altered, or put under another proof', async () => {
    const names = /^decisions\//
    expect(await flaws(await edited(bytes, names, ([line]) => void (line.decision.effect = 'deny')))).toContain(
      'changed after it was written down',
    )
    expect(await flaws(await edited(bytes, names, ([line]) => void (line.decision.result = '{}')))).toContain(
      'changed after it was written down',
    )
    expect(
      await flaws(
        await edited(bytes, names, ([line]) => void (line.decision.input = line.decision.input.replace('ada', 'eve'))),
      ),
    ).toContain('NOT the one that was judged')
    expect(await flaws(await edited(bytes, names, lines => swapped(lines, 'batch')))).toContain(
      'changed after it was written down',
    )
    expect(
      await flaws(await edited(bytes, /^revisions\/1\.json/, ([row]) => void (row.commit = 'e'.repeat(40)))),
    ).toContain('commit is NOT that of the revision')
  })

  test('RE3: a recording that was truncated, exchanged, or whose text says something else', async () => {
    expect(await flaws(await without(/\.jsonl$.*|part-1-000000\.jsonl$/))).toBeTruthy()
    expect(await flaws(await without(/part-1-000000\.jsonl$/))).toContain('the text of segment 0 is missing')
    expect(await flaws(await without(/part-1-000000\.(seg|jsonl)$/))).toContain(
      'the number of segments is 0, but the seal says 1',
    )
    expect(
      await flaws(await edited(bytes, /part-1-000000\.jsonl$/, ([line]) => void (line.text = 'select 1'))),
    ).toContain('does NOT say what its sealed segment holds')
    expect(
      await flaws(await edited(bytes, /recording\.json$/, ([row]) => void (row.seal.parts[0].last_seq = 1))),
    ).toContain('does NOT have the hash')
    expect(
      await flaws(
        await edited(
          bytes,
          /recording\.json$/,
          ([row]) => void (row.holds = [{ id: 'hld_x', reason: 'x', lifted_at_ms: null }]),
        ),
      ),
    ).toContain('legal hold hld_x was NOT set')
    const foreign = (await unpacked(other)).find(file => file.name.endsWith('.seg'))!
    const files = await unpacked(bytes)
    files.find(file => file.name.endsWith('.seg'))!.content = foreign.content
    expect(await flaws(packed(files))).toContain('belongs to another part')
    const sealed = (await unpacked(other)).find(file => file.name.endsWith('recording.json'))!
    const old = await unpacked(bytes)
    old.find(file => file.name.endsWith('recording.json'))!.content = sealed.content
    expect(await flaws(packed(old))).toContain('is about another session')
  })

  test('put together anew with a manifest of its own, it is not the one that the log names', async () => {
    const manifest = (await unpacked(other)).find(file => file.name === 'manifest.json')!
    const files = await unpacked(bytes)
    files.find(file => file.name === 'manifest.json')!.content = manifest.content
    expect(await flaws(packed(files))).toContain('NOT the one that the log names')
    const proof = (await unpacked(other)).find(file => file.name === 'manifest.proof.json')!
    const swappedProof = await unpacked(bytes)
    swappedProof.find(file => file.name === 'manifest.proof.json')!.content = proof.content
    expect(await flaws(packed(swappedProof))).toContain('NOT the one that the log names')
    expect(await flaws(await edited(bytes, /^bundle\.json/, ([row]) => void (row.by.id = 'sub_x')))).toContain(
      'does NOT say what the log says',
    )
    expect(await flaws(await edited(bytes, /^manifest\.proof/, ([row]) => void row.consistency.pop()))).toContain(
      'NOT a continuation',
    )
  })
})

describe('a hostile archive', () => {
  const sized = (name: string, size: number): Buffer => {
    const head = Buffer.from(member('bundle.json', Buffer.alloc(0)))
    head.fill(0, 0, 100)
    head.write(name, 0, 'latin1')
    head.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1')
    head.write('        ', 148, 'latin1')
    head.write(
      `${head
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
      'latin1',
    )
    return head
  }
  const typed = (kind: string): Buffer => {
    const head = sized('bundle.json', 0)
    head.write(kind, 156, 'latin1')
    head.write('        ', 148, 'latin1')
    head.write(
      `${head
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
      'latin1',
    )
    return head
  }

  test('paths that leave the folder, names of no bundle, and names that come twice are refused', async () => {
    for (const name of [
      '../bundle.json',
      '/etc/passwd',
      'log/../../x',
      'a\\b',
      'C:x',
      'log//key.txt',
      './bundle.json',
      '.ssh/config',
      '\u00e9',
      'node_modules/x.js',
      '',
    ])
      expect(await flaws(Buffer.concat([sized(name, 0), archiveEnd])), name).toMatch(
        /no name of a file|is no file of a bundle|cut off|no bundle/,
      )
    const files: Files = await unpacked(bytes)
    expect(await flaws(packed([...files.slice(0, 3), files[2]!]))).toContain('is there twice')
  })

  test('links, folders, devices and extended headers are refused', async () => {
    for (const kind of ['1', '2', '3', '5', '6', 'x', 'g', 'L', '\0'])
      expect(await flaws(Buffer.concat([typed(kind), archiveEnd])), kind).toContain('not that of a plain file')
  })

  test('sizes that no file of a bundle has are refused before they are read', async () => {
    const endless = async function* () {
      yield sized('bundle.json', 8 * 1024 ** 3 - 1)
      for (let read = 0; ; read += 65_536) {
        if (read > 4 * 1024 * 1024) throw new Error('it was read')
        yield Buffer.alloc(65_536)
      }
    }
    const { verifyBundle } = await import('../../src/evidence/verify-bundle.ts')
    expect((await verifyBundle(endless())).flaws.join()).toContain('are not read')
    expect(await flaws(sized('report.html', 1000))).toContain('cut off in report.html')
  })

  test('what is no archive at all, or empty, is refused', async () => {
    for (const junk of [
      Buffer.alloc(0),
      Buffer.from('{}'),
      Buffer.alloc(511),
      Buffer.alloc(1024),
      Buffer.from('x'.repeat(4096)),
    ])
      expect(await flaws(junk)).toBeTruthy()
  })

  test('deep, huge or foreign JSON is a flaw and no crash', async () => {
    for (const text of [
      '['.repeat(100_000),
      '{"__proto__":{"given":"text"}}',
      'null',
      '1',
      '{}',
      '"x"',
      '{"format":1}',
      '{"seal":{"parts":{}},"session_id":[]}',
    ]) {
      for (const name of [
        'bundle.json',
        'requests-00001.jsonl',
        'decisions/00001.jsonl',
        'log/events-00001.jsonl',
        'manifest.json',
        'manifest.proof.json',
        /recording\.json$/,
        /part-1\.json$/,
      ]) {
        const files = await unpacked(bytes)
        const file = files.find(each => (typeof name === 'string' ? each.name === name : name.test(each.name)))!
        file.content = Buffer.from(`${text}\n`)
        expect((await verify(packed(files), key)).ok, `${String(name)}: ${text.slice(0, 20)}`).toBe(false)
      }
    }
  })

  test('chunks of any size give the same verdict', async () => {
    const { verifyBundle } = await import('../../src/evidence/verify-bundle.ts')
    for (const size of [511, 513, 1 << 20])
      expect(await verifyBundle(pieces(bytes, size), { vkey: key })).toMatchObject({ ok: true })
  })
})
