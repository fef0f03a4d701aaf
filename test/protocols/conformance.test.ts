import { expect, test } from 'vitest'
import { allProtocols } from '../../src/protocols/all.ts'
import { personSides } from '../../src/protocols/persons.ts'
import { type ConformanceKit, describeConformance } from './conformance.ts'
import { gitKit } from './git/conformance-kit.ts'
import { postgresKit } from './postgres/kit.ts'
import { sshKit } from './ssh/conformance-kit.ts'

const kits: Readonly<Record<string, ConformanceKit>> = { git: gitKit, postgres: postgresKit, ssh: sshKit }

test('every protocol of this build brings what the suite needs', () => {
  expect(allProtocols.map(p => p.name).filter(name => kits[name] === undefined)).toEqual([])
})

test('every protocol of this build has its side on a person’s machine, and none has another', () => {
  expect(personSides.map(each => each.name)).toEqual(allProtocols.map(each => each.name))
  for (const [i, side] of personSides.entries()) expect(allProtocols[i]).toMatchObject(side)
})

for (const protocol of allProtocols) {
  const kit = kits[protocol.name]
  if (kit !== undefined) describeConformance(protocol, kit)
}
