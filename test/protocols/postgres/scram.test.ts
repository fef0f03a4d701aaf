import { describe, expect, test } from 'vitest'
import {
  formatVerifier,
  makeVerifier,
  mockVerifier,
  parseVerifier,
  ScramClient,
  ScramError,
  ScramServer,
} from '../../../src/protocols/postgres/scram.ts'
import { Secret } from '../../../src/secret.ts'

async function exchange(verifierOf: string, password: string): Promise<string | undefined> {
  const server = new ScramServer(makeVerifier(new Secret(verifierOf)))
  const client = new ScramClient(new Secret(password))
  const final = server.final(await client.final(server.first(client.first())))
  if (final !== undefined) expect(client.accepts(final)).toBe(true)
  return final
}

describe('SCRAM-SHA-256', () => {
  test('agrees with the example of RFC 7677', () => {
    const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
    const verifier = makeVerifier(new Secret('pencil'), salt, 4096)
    const server = new ScramServer(verifier, '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0')
    const first = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'
    expect(server.first('n,,n=user,r=rOprNGfwEbeRWgbNEkqO')).toBe(first)
    const final = `c=biws,${first.split(',')[0]},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`
    expect(server.final(final)).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')
    expect(parseVerifier(formatVerifier(verifier))).toEqual(verifier)
  })

  test('lets in who knows the secret, and proves itself to them', async () => {
    expect(await exchange('correct horse', 'correct horse')).toBeDefined()
  })

  test('refuses who does not', async () => {
    expect(await exchange('correct horse', 'battery staple')).toBeUndefined()
  })

  test('passwords beyond ASCII are prepared as PostgreSQL prepares them', async () => {
    expect(await exchange('ⅸ\u00a0x', 'ix x')).toBeDefined()
  })

  test('a mock verifier lets nobody in and always shows the same salt', async () => {
    const one = new ScramServer(mockVerifier(Buffer.alloc(32, 3)), 'nonce')
    const two = new ScramServer(mockVerifier(Buffer.alloc(32, 3)), 'nonce')
    expect(one.first('n,,n=,r=clientnonce')).toBe(two.first('n,,n=,r=clientnonce'))
    const client = new ScramClient(new Secret('x'))
    const server = new ScramServer(mockVerifier(Buffer.alloc(32, 3)))
    expect(server.final(await client.final(server.first(client.first())))).toBeUndefined()
  })

  test('PG9: malformed first messages are refused', () => {
    for (const first of [
      '',
      'n,,',
      'p=tls-server-end-point,,n=,r=abcdefgh',
      'n,a=root,n=,r=abcdefgh',
      'n,,m=x,n=,r=abcdefgh',
      'n,,n=,r=short',
      'n,,n=,r=abcdefgh,x=1',
      'n,,n=,r=' + 'a'.repeat(4000),
    ]) {
      expect(() => new ScramServer(mockVerifier(Buffer.alloc(32))).first(first), first.slice(0, 40)).toThrow(ScramError)
    }
  })

  test('PG9: a final message with another nonce, another binding, or none before is refused', async () => {
    const client = new ScramClient(new Secret('x'), 'clientnonce')
    const server = new ScramServer(makeVerifier(new Secret('x')), 'servernonce')
    const final = await client.final(server.first(client.first()))
    expect(() => server.final(final.replace('servernonce', 'anothernonce'))).toThrow('nonce')
    expect(() => server.final(final.replace('c=biws', 'c=eSws'))).toThrow('binding')
    expect(() => server.final(`${final},x=1`)).toThrow('malformed')
    expect(() => new ScramServer(makeVerifier(new Secret('x'))).final(final)).toThrow('malformed')
    expect(server.final(final)).toBeDefined()
  })

  test('a target that does not continue our nonce, asks for too much work, or cannot prove itself is not believed', async () => {
    const client = () => new ScramClient(new Secret('x'), 'ournonce')
    await expect(client().final('r=other,s=AAAA,i=4096')).rejects.toThrow(ScramError)
    await expect(client().final('r=ournonce,s=AAAA,i=4096')).rejects.toThrow(ScramError)
    await expect(client().final('r=ournonceX,s=AAAA,i=9999999')).rejects.toThrow('iterations')
    const one = client()
    expect(one.accepts(`v=${Buffer.alloc(32).toString('base64')}`)).toBe(false)
    await one.final('r=ournonceX,s=AAAA,i=4096')
    expect(one.accepts(`v=${Buffer.alloc(32).toString('base64')}`)).toBe(false)
  })
})
