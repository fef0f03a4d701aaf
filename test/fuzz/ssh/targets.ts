import fc from 'fast-check'
import { parseCommand } from '../../../src/protocols/ssh/command.ts'
import { ScpTracker } from '../../../src/protocols/ssh/scp.ts'
import { PacketReader } from '../../../src/protocols/ssh/sftp/packet-reader.ts'
import { decodePacket, encodePacket } from '../../../src/protocols/ssh/sftp/packets.ts'
import { SftpTracker } from '../../../src/protocols/ssh/sftp/tracker.ts'
import {
  certificateSigner,
  maxCertificateBytes,
  parseCertificate,
  signUserCertificate,
} from '../../../src/protocols/ssh/wire/certificate.ts'
import { FieldError } from '../../../src/protocols/ssh/wire/fields.ts'
import { shownKey } from '../../../src/protocols/ssh/wire/proof.ts'
import { parsePublicKey } from '../../../src/protocols/ssh/wire/public-key.ts'
import { freshKey } from '../../protocols/ssh/kit.ts'
import { somePacket } from '../../protocols/ssh/sftp-kit.ts'
import type { Target } from '../postgres/targets.ts'

const bytes = fc.uint8Array({ maxLength: 600 })
const ca = freshKey()
const whole = signUserCertificate(
  {
    public_key_blob: freshKey().blob,
    key_id: 'tkt_0',
    principal: 'tkt_0',
    serial: 1n,
    valid_after_s: 0,
    valid_before_s: 2 ** 32,
    source_address: ['192.0.2.0/24'],
    extensions: ['permit-pty'],
  },
  certificateSigner(ca.key),
)

/** What is right, of which single bytes are not, or the end is missing. */
const damaged = (right: fc.Arbitrary<Buffer>) =>
  fc
    .tuple(right, fc.array(fc.tuple(fc.nat(4000), fc.nat(255)), { maxLength: 4 }), fc.option(fc.nat(4000)))
    .map(([bytes_, changes, cut]) => {
      const copy = Buffer.from(bytes_)
      for (const [at, value] of changes) if (at < copy.length) copy[at] = value
      return new Uint8Array(copy.subarray(0, cut ?? copy.length))
    })
const stream = fc.array(somePacket, { maxLength: 6 }).map(packets => Buffer.concat(packets.map(encodePacket)))
const prepare = async () => {}

export const targets: readonly Target[] = [
  { name: 'certificate', input: fc.oneof(bytes, damaged(fc.constant(whole))), prepare, run: certificate },
  { name: 'packets', input: fc.oneof(bytes, damaged(stream)), prepare, run: packets },
  { name: 'tracker', input: damaged(stream), prepare, run: tracker },
  { name: 'scp', input: bytes, prepare, run: scp },
  {
    name: 'command',
    input: fc.string({ unit: 'binary', maxLength: 100 }).map(text => new Uint8Array(Buffer.from(text))),
    prepare,
    run: command,
  },
]

function taken<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch (error) {
    if (!(error instanceof FieldError)) throw error
    return undefined
  }
}

/** Only the whole certificate is read, or one that the authority signed: nothing near it. */
function certificate(input: Buffer): void {
  const read = taken(() => parseCertificate(input))
  if (read !== undefined && !input.equals(whole)) throw new Error('a certificate that nobody signed was read')
  taken(() => parsePublicKey(input))
  const shown = shownKey({
    key: { algo: 'ssh-ed25519-cert-v01@openssh.com', data: input },
    blob: input,
    signature: input,
  })
  if (shown !== undefined) throw new Error('noise proved a key')
  if (input.length > maxCertificateBytes) throw new Error('longer than any input')
}

/** Whole, and in pieces of seven bytes: the same packets, or refused both times; what is read is written back the same. */
function packets(input: Buffer): void {
  const read = (chunks: readonly Buffer[]) => {
    const reader = new PacketReader()
    const found: Buffer[] = []
    const whole_ = taken(() => {
      for (const chunk of chunks) {
        for (const inPieces of reader.push(chunk)) {
          const each = Buffer.concat(inPieces)
          found.push(each)
          const packet = taken(() => decodePacket(inPieces))
          if (packet !== undefined && !encodePacket(packet).equals(each))
            throw new Error(`not the same: ${each.toString('hex')}`)
        }
      }
      return true
    })
    return { found: whole_ ? Buffer.concat(found).toString('hex') : 'refused', held: reader.held }
  }
  const pieces = Array.from({ length: Math.ceil(input.length / 7) }, (_, i) => input.subarray(i * 7, i * 7 + 7))
  const [one, other] = [read([input]), read(pieces)]
  if (one.found !== other.found) throw new Error(`whole: ${one.found}; in pieces: ${other.found}`)
}

/** Both directions from one stream: each request is answered once, or the channel ends. */
function tracker(input: Buffer): void {
  const sftp = new SftpTracker()
  taken(() => {
    sftp.pass(sftp.fromClient(encodePacket({ type: 'init', version: 3, extensions: [] }))[0]!)
    sftp.fromTarget(encodePacket({ type: 'version', version: 3, extensions: [] }))
    for (const request of sftp.fromClient(input)) {
      if (request.refused === null) sftp.pass(request)
      else sftp.deny(request, request.refused)
    }
  })
  taken(() => sftp.fromTarget(input))
  for (const file of sftp.end()) if (file.complete) throw new Error('a file that nobody closed is complete')
}

function scp(input: Buffer): void {
  const files = new ScpTracker({ direction: 'upload', path: '/srv', recursive: true, folder: false })
  taken(() => {
    for (let at = 0; at < input.length; at += 5) {
      files.fromSender(input.subarray(at, at + 4))
      files.fromReceiver(Buffer.of(0))
    }
  })
  for (const { path } of files.end()) if (!path.startsWith('/srv/')) throw new Error(`a file outside: ${path}`)
}

function command(input: Buffer): void {
  const { argv } = parseCommand(input.toString('utf8'))
  if (argv?.some(word => /[\0\n\r]/.test(word))) throw new Error('a word with a line feed')
}
