import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../../../errors.ts'
import { type Signers, signersIn } from '../../../policy/repository/signature.ts'
import type { SignatureFacts } from '../facts.ts'
import { PushFault } from '../push.ts'
import type { Git } from './git.ts'

/** Whose signatures count: of the resource, which only policy's own repository changes. */
export interface SignerKeys {
  /** Lines of an allowed_signers file (ssh-keygen(1)). */
  readonly allowed: readonly string[]
  /** Armoured OpenPGP public keys. */
  readonly openpgp: readonly string[]
}

/**
 * ssh-keygen(1), ALLOWED SIGNERS: its day, in the time of this machine where no Z follows. INVARIANT: a key whose time is over signs nothing
 * that comes now: git compares with the date that stands in the commit, which whoever holds the key writes.
 */
function isOver(line: string, now = Date.now()): boolean {
  const [, day, utc] = /[\s,]valid-before="?(\d{8}(?:\d{4}(?:\d{2})?)?)(Z?)"?/i.exec(line) ?? []
  if (day === undefined) return false
  const [, date, hour = '00', minute = '00', second = '00'] = /^(\d{8})(\d\d)?(\d\d)?(\d\d)?$/.exec(day)!
  const iso = `${date!.replace(/(....)(..)(..)/, '$1-$2-$3')}T${hour}:${minute}:${second}${utc!.toUpperCase()}`
  const ends = Date.parse(iso)
  return Number.isNaN(ends) || ends <= now
}

/** Signatures that are looked at at the same time. */
const atOnce = 4

/** Verifies commits and tags of one push, with these keys and nobody else's. Each is looked at once. */
export class Verifier implements Disposable {
  readonly #git: Git
  readonly #folder: string
  readonly #keys: SignerKeys
  readonly #answers = new Map<string, Promise<SignatureFacts>>()
  readonly #lanes: Promise<unknown>[] = Array.from({ length: atOnce }, () => Promise.resolve())
  #signers: Promise<Signers> | undefined
  #left: number

  constructor(git: Git, folder: string, keys: SignerKeys, most: number) {
    this.#git = git
    this.#folder = join(folder, 'signers')
    this.#keys = { ...keys, allowed: keys.allowed.filter(line => !isOver(line)) }
    this.#left = most
  }

  /** `unknown` where there are no keys of its kind, or more signatures than are looked at. */
  async verify(
    id: string,
    kind: NonNullable<SignatureFacts>['kind'] | null,
    object: 'commit' | 'tag' = 'commit',
  ): Promise<SignatureFacts> {
    if (kind === null) return null
    const known = this.#answers.get(id)
    if (known !== undefined) return known
    const keys = kind === 'ssh' ? this.#keys.allowed : kind === 'openpgp' ? this.#keys.openpgp : []
    if (keys.length === 0 || this.#left <= 0) return { kind, status: 'unknown', signer: null }
    const lane = this.#left-- % atOnce
    const answer = this.#lanes[lane]!.then(() => this.#look(id, kind, object))
    this.#lanes[lane] = answer.catch(() => {})
    this.#answers.set(id, answer)
    return answer
  }

  async #look(
    id: string,
    kind: NonNullable<SignatureFacts>['kind'],
    object: 'commit' | 'tag',
  ): Promise<SignatureFacts> {
    this.#signers ??= this.#open()
    const { signer, run } = await (await this.#signers).verify(id, object, async (args, extra) => {
      const { cut, ...ended } = await this.#git.try(args, extra)
      return { ...ended, ended: cut === undefined ? undefined : 'timeout' }
    })
    // Of a key that has expired since nobody can say when it was used: `EXPKEYSIG` is gpg's word for it.
    const stranger = /No principal matched|NO_PUBKEY|EXPKEYSIG/.test(run.stderr)
    const status = signer !== undefined ? 'verified' : stranger ? 'unknown' : 'bad'
    return { kind, status, signer: signer ?? null }
  }

  async #open(): Promise<Signers> {
    mkdirSync(this.#folder, { mode: 0o700 })
    const [allowed, openpgp] = [join(this.#folder, 'allowed'), join(this.#folder, 'openpgp')]
    writeFileSync(allowed, this.#keys.allowed.map(line => `${line}\n`).join(''), { mode: 0o600 })
    writeFileSync(openpgp, this.#keys.openpgp.map(key => `${key}\n`).join(''), { mode: 0o600 })
    const keys = {
      ...(this.#keys.allowed.length > 0 && { allowed_signers: allowed }),
      ...(this.#keys.openpgp.length > 0 && { openpgp }),
    }
    return signersIn(keys, this.#folder).catch((error: unknown) => {
      if (!(error instanceof SallyportError)) throw error
      const why = error.message.replace(/^[^:]*: /, '')
      throw new PushFault(
        'not_ready',
        `the keys that sign are not to be read (options.push of the resource): ${why}`,
        'ask an operator: gpg must be there, and each of options.push.openpgp a public key (gpg --armor --export)',
      )
    })
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
