import { expect, test } from 'vitest'
import { allProtocols } from '../../src/protocols/all.ts'
import { type ConformanceKit, describeConformance } from './conformance.ts'
import { gitKit } from './git/conformance-kit.ts'
import { postgresKit } from './postgres/kit.ts'
import { sshKit } from './ssh/conformance-kit.ts'

const kits: Readonly<Record<string, ConformanceKit>> = { git: gitKit, postgres: postgresKit, ssh: sshKit }

test('every protocol of this build brings what the suite needs', () => {
  expect(allProtocols.map(p => p.name).filter(name => kits[name] === undefined)).toEqual([])
})

for (const protocol of allProtocols) {
  const kit = kits[protocol.name]
  if (kit !== undefined) describeConformance(protocol, kit)
}
