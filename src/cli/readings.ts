import type { Readings } from '../recording/reading.ts'

/** How events of a session of this protocol read: what each protocol says of its own, and the gate of the rest. */
export async function readingsOf(protocol: unknown): Promise<Readings> {
  const [{ Registry }, { allProtocols }] = await Promise.all([
    import('../gateway/registry.ts'),
    import('../protocols/all.ts'),
  ])
  return typeof protocol === 'string' ? new Registry(allProtocols).readingsOf(protocol) : {}
}
