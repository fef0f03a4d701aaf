import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { parse } from 'yaml'
import { SallyportError } from '../errors.ts'
import { createGatewayRootKey, createRootKey, loadRootKey } from '../keys.ts'
import { identitiesOf } from '../recording/part-key.ts'
import { Secret } from '../secret.ts'
import { publicKeyText, signingKeys } from '../signing-keys.ts'

export interface MadeKeys {
  readonly created: readonly string[]
  readonly public_keys: { readonly bundles: string; readonly replay_calls: string }
  /** The recipient of the recording identity, where that is a file on this host. */
  readonly recipient: string | null
  /** The recipient of the identity for originals, where the configuration names a file for one. */
  readonly originals_recipient: string | null
}

interface KeySettings {
  readonly keys?: { readonly control?: string; readonly gateway?: string; readonly replay?: string }
  readonly recording?: { readonly identity?: string; readonly originals_identity?: string }
}

/** Makes the key files that a configuration names with `file:`, where they are missing. It never replaces one. */
export async function ensureKeys(config: string | KeySettings): Promise<MadeKeys> {
  const settings = typeof config === 'string' ? ((parse(readFileSync(config, 'utf8')) ?? {}) as KeySettings) : config
  const created: string[] = []
  const control = fileOf(settings.keys?.control, 'keys.control')
  if (!existsSync(control)) {
    createRootKey(inFolder(control))
    created.push(control)
  }
  const root = loadRootKey(control)
  const gateway = fileOf(settings.keys?.gateway, 'keys.gateway')
  if (!existsSync(gateway)) {
    createGatewayRootKey(inFolder(gateway), root)
    created.push(gateway)
  }
  const replay = fileOf(settings.keys?.replay, 'keys.replay')
  if (!existsSync(replay)) {
    createRootKey(inFolder(replay))
    created.push(replay)
  }
  const pair = async (ref: string | undefined, name: string): Promise<string> => {
    const identity = fileOf(ref, name)
    if (!existsSync(identity)) {
      writeFileSync(inFolder(identity), (await generateX25519Identity()) + '\n', { mode: 0o600, flag: 'wx' })
      chmodSync(identity, 0o600)
      created.push(identity)
    }
    const last = identitiesOf(new Secret(readFileSync(identity, 'utf8'))).at(-1) // after a rotation: the newest
    if (last === undefined)
      throw new SallyportError('bad_config', `${identity} holds no identity`, {
        remedy: 'write one there with `age-keygen`, or remove the file and run this again',
      })
    return identityToRecipient(last)
  }
  const { identity, originals_identity } = settings.recording ?? {}
  const recipient = await pair(identity, 'recording.identity')
  const originals_recipient =
    originals_identity === undefined ? null : await pair(originals_identity, 'recording.originals_identity')
  return {
    created,
    public_keys: {
      bundles: publicKeyText(signingKeys(root, 'bundle-signing').publicKey),
      replay_calls: publicKeyText(signingKeys(root, 'replay-calls').publicKey),
    },
    recipient,
    originals_recipient,
  }
}

function fileOf(ref: string | undefined, name: string): string {
  if (ref?.startsWith('file:')) return ref.slice('file:'.length)
  throw new SallyportError('bad_config', `${name} does not name a file`, {
    remedy: 'write it as file:/path, or make the key where you keep it and leave this command out',
  })
}

function inFolder(path: string): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  return path
}
