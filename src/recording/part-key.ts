import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { Decrypter, Encrypter } from 'age-encryption'
import { SallyportError } from '../errors.ts'
import type { Secret } from '../secret.ts'

/** The key of one part. The process that writes keeps it in memory only; the wrapped copy is an age file. */
export interface PartKey {
  readonly key: KeyObject
  readonly wrapped: Buffer
}

/**
 * A fresh key, wrapped for every recipient of the deployment. Any age tool with an identity recovers it.
 * @throws SallyportError `bad_config` for a recipient that is no X25519 recipient of age.
 */
export async function newPartKey(recipients: readonly string[]): Promise<PartKey> {
  const raw = randomBytes(32)
  try {
    const encrypter = new Encrypter()
    for (const recipient of recipients) encrypter.addRecipient(recipient)
    return { key: createSecretKey(raw), wrapped: Buffer.from(await encrypter.encrypt(raw)) }
  } finally {
    raw.fill(0)
  }
}

/** Checks the recipients once at start, so that a typing error is told then and not at the first session. */
export function checkRecipients(recipients: readonly string[], originals: readonly string[] = []): void {
  if (recipients.length === 0)
    throw new SallyportError('bad_config', 'recording.recipients is empty: name at least one age1… recipient')
  checkEach(recipients, 'recording.recipients')
  checkEach(originals, 'recording.originals_recipients')
  const both = originals.find(recipient => recipients.includes(recipient))
  if (both !== undefined)
    throw new SallyportError('bad_config', `${both} is among recording.recipients and recording.originals_recipients`, {
      remedy: 'originals are for other people: `sallyport keys` makes a pair of their own',
    })
}

function checkEach(recipients: readonly string[], setting: string): void {
  for (const recipient of recipients) {
    try {
      if (!/^age1[0-9a-z]{58}$/.test(recipient)) throw new Error('not an X25519 recipient')
      new Encrypter().addRecipient(recipient)
    } catch (cause) {
      throw new SallyportError(
        'bad_config',
        `${setting}: ${JSON.stringify(recipient)} is no X25519 recipient of age (age1…)`,
        { cause },
      )
    }
  }
}

/** The identities of a file as age writes them: one a line, old ones too after a rotation, and lines that begin with `#`. */
export function identitiesOf(file: Secret): string[] {
  return file
    .reveal()
    .split(/\r?\n/)
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#'))
}

/** Only the replay process has identities (old ones too, after a rotation). @throws SallyportError when none opens this key. */
export async function unwrapPartKey(identities: readonly Secret[], wrapped: Buffer): Promise<KeyObject> {
  const decrypter = new Decrypter()
  try {
    for (const file of identities) for (const identity of identitiesOf(file)) decrypter.addIdentity(identity)
  } catch {
    throw new SallyportError('bad_config', 'an identity of the replay process is no age identity (AGE-SECRET-KEY-1…)')
  }
  let raw: Uint8Array
  try {
    raw = await decrypter.decrypt(wrapped)
  } catch {
    throw new SallyportError('internal', 'the key of this recording was wrapped for other recipients, or is damaged', {
      remedy: 'the identity is needed whose recipient was configured when the session was recorded',
    })
  }
  if (raw.length !== 32) throw new SallyportError('internal', 'the key of this recording has a wrong length')
  const key = createSecretKey(raw)
  raw.fill(0)
  return key
}
