import { connect } from 'node:net'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listRequests } from '../../src/approvals/view.ts'
import type { Protocol } from '../../src/gateway/protocol.ts'
import { Registry } from '../../src/gateway/registry.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { allProtocols } from '../../src/protocols/all.ts'
import { sessions } from '../../src/sessions/schema.ts'
import type { Edit } from '../approvals/world.ts'
import { createGatewayWorld, type GatewayWorld } from '../gateway/world.ts'

export type Issued = Awaited<ReturnType<GatewayWorld['ticket']>>

/** What a protocol's folder brings for the suite that every protocol passes. */
export interface ConformanceKit {
  /** What the world needs besides, and policy changes that let people of `dbas` in without asking. */
  readonly world?: Parameters<typeof createGatewayWorld>[0]
  readonly edits?: readonly Edit[]
  readonly resource: string
  readonly role: string
  /** Kinds of events that the allowed action leaves. */
  readonly recorded: readonly string[]
  /** Runs one action with the real client and answers what a person would read, also where it failed. */
  run(world: GatewayWorld, port: number, issued: Issued, action: string): Promise<string>
  /** An open connection: says things, and gives what the client was told when it ended. */
  open(
    world: GatewayWorld,
    port: number,
    issued: Issued,
  ): Promise<{ act(action: string): Promise<string>; ended: Promise<string> }>
  readonly allowed: { readonly action: string; readonly answers: string }
  /** Denied to a reader; `happened` looks at the target itself. */
  readonly denied: { readonly action: string; happened(world: GatewayWorld): Promise<boolean> }
  /** For which policy asks an approval, under `edits`. */
  readonly held: { readonly action: string; readonly answers: string }
  /** What no parser of the protocol understands. */
  readonly notUnderstood: string
  /** Client bytes of all kinds that are no login. */
  readonly hostile: readonly Buffer[]
}

/** Behaviour that every registered protocol owes (design: whatever the wire, these hold). */
export function describeConformance(protocol: Protocol, kit: ConformanceKit): void {
  const wire = new Registry(allProtocols).wireOf(protocol).name
  describe(`${protocol.name} keeps the gateway's promises`, () => {
    let world: GatewayWorld
    let gateway: Awaited<ReturnType<GatewayWorld['gateway']>>
    let person: SubjectFacts

    beforeAll(async () => {
      world = await createGatewayWorld(kit.world)
      gateway = await world.gateway()
      await world.activate(...(kit.edits ?? []))
      person = await world.person('conformance', ['dbas'])
    })
    afterAll(() => world?.close())

    const ticket = () => world.ticket(person, kit.role, kit.resource)
    const sessionOf = async (issued: Issued) =>
      (await world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id)))[0]!

    test('the real client gets its answer', async () => {
      expect(await kit.run(world, gateway.portOf(wire), await ticket(), kit.allowed.action)).toContain(
        kit.allowed.answers,
      )
    })

    test('the real client reads the denial: rule, place, decision, and what to do', async () => {
      const words = await kit.run(world, gateway.portOf(wire), await ticket(), kit.denied.action)
      expect(words).toMatch(/\w+\.rego:\d+@[0-9a-f]+/)
      expect(words).toMatch(/dec_[0-9a-z]{26}/)
      expect(words).toContain('ask for')
      expect(await kit.denied.happened(world)).toBe(false)
    })

    test.each(['approve', 'deny'] as const)(
      'an action for which policy asks waits, and its person reads where it is decided and how: %s',
      async answer => {
        const issued = await ticket()
        const running = kit.run(world, gateway.portOf(wire), issued, kit.held.action)
        const pending = async () =>
          (await listRequests(world.db, { state: 'pending', limit: 1 })).find(request => request.kind === 'hold')
        await expect.poll(pending, { timeout: 10_000 }).toBeDefined()
        const request = (await pending())!
        const vote = { request_id: request.id, answer, via: 'web', expected_hash: request.hash }
        expect((await world.approvals.vote({ ...vote, approver: person })).refused).toBe(true)
        const approver = await world.person(`approver to ${answer}`, ['dbas'])
        expect((await world.approvals.vote({ ...vote, approver })).refused).toBe(false)
        const words = await running
        expect(words).toContain(`/requests/${request.id}`)
        if (answer === 'approve') expect(words).toContain(kit.held.answers)
        else expect(words).toMatch(/denied by approver to deny[\s\S]*\w+\.rego:\d+@[0-9a-f]+/)
        if (answer === 'deny') expect(words.replaceAll(kit.held.action, '')).not.toContain(kit.held.answers)
      },
    )

    test('what is not understood is not forwarded', async () => {
      const { act } = await kit.open(world, gateway.portOf(wire), await ticket())
      await expect(act(kit.notUnderstood)).rejects.toThrow()
    })

    test('hostile bytes crash nothing and open nothing', async () => {
      for (const bytes of kit.hostile) {
        await new Promise<void>(resolve => {
          const socket = connect(gateway.portOf(wire), '127.0.0.1', () => socket.end(bytes))
          socket.on('error', () => {}).on('close', () => resolve())
          socket.resume()
        })
      }
      const fresh = await world.gateway() // the address may be throttled by now, which is right
      await world.activate(...(kit.edits ?? []))
      expect(await kit.run(world, fresh.portOf(wire), await ticket(), kit.allowed.action)).toContain(
        kit.allowed.answers,
      )
      await fresh.close()
    })

    test('without its journal nothing is answered, and the session ends with the reason', async () => {
      const short = await world.gateway()
      await world.activate(...(kit.edits ?? []))
      const { act, ended } = await kit.open(world, short.portOf(wire), await ticket())
      await short.journal.close(100)
      const words = await Promise.race([act(kit.allowed.action).catch((error: Error) => error.message), ended])
      expect(words).toContain('can no longer be recorded')
      expect(words).not.toContain(kit.allowed.answers)
      await short.close()
    })

    test('the session dies with its grant, within a second, with the reason', async () => {
      const issued = await ticket()
      const { ended } = await kit.open(world, gateway.portOf(wire), issued)
      const since = Date.now()
      const { grant_id } = await sessionOf(issued)
      const revoked = await world.approvals.revoke({ grant_id, by: person, reason: 'the ship is sinking' } as never)
      expect(revoked.refused).toBe(false)
      expect(await ended).toContain('the ship is sinking')
      expect(Date.now() - since).toBeLessThan(1000)
    })

    test('what waited and who approved it stand in the recording', async () => {
      const issued = await ticket()
      const running = kit.run(world, gateway.portOf(wire), issued, kit.held.action)
      const pending = async () =>
        (await listRequests(world.db, { state: 'pending', limit: 1 })).find(request => request.kind === 'hold')
      await expect.poll(pending, { timeout: 10_000 }).toBeDefined()
      const { id: request_id } = (await pending())!
      const approver = await world.person('recorded approver', ['dbas'])
      await world.approvals.vote({ request_id, answer: 'approve', via: 'web', approver })
      await running
      const { id } = await sessionOf(issued)
      const seen = async () => {
        const events: string[] = []
        for await (const event of world.reader.events(id)) if (event['hold'] === request_id) events.push(event.kind)
        return events
      }
      await expect.poll(seen, { timeout: 10_000 }).toEqual(['held', 'approval', 'statement'])
    })

    test('the recording replays what was said and answered', async () => {
      const issued = await ticket()
      await kit.run(world, gateway.portOf(wire), issued, kit.allowed.action)
      const { id } = await sessionOf(issued)
      const kinds = async () => {
        const seen: string[] = []
        for await (const event of world.reader.events(id)) seen.push(event.kind)
        return seen
      }
      await expect.poll(kinds, { timeout: 10_000 }).toEqual(expect.arrayContaining([...kit.recorded]))
    })
  })
}
