import { FieldReader, field, u8, u32 } from '../wire/fields.ts'

/** Numbers of the connection protocol's messages (RFC 4254 §9). */
export const M = {
  globalRequest: 80,
  requestSuccess: 81,
  requestFailure: 82,
  open: 90,
  openConfirmation: 91,
  openFailure: 92,
  windowAdjust: 93,
  data: 94,
  extendedData: 95,
  eof: 96,
  close: 97,
  request: 98,
  success: 99,
  failure: 100,
} as const

export const stderr = 1

/** Reasons of OPEN_FAILURE. */
export const prohibited = 1
export const shortage = 4

export interface Open {
  readonly type: string
  readonly sender: number
  readonly window: number
  readonly packet: number
  /** What the type of the channel brings with it. */
  readonly rest: Buffer
}

/** @throws FieldError, as everything here that reads. */
export function readOpen(payload: Buffer): Open {
  const fields = new FieldReader(payload, 1)
  const type = fields.text(64)
  return { type, sender: fields.u32(), window: fields.u32(), packet: fields.u32(), rest: fields.rest() }
}

export function openMessage(open: Open): Buffer {
  return Buffer.concat([u8(M.open), field(open.type), u32(open.sender), u32(open.window), u32(open.packet), open.rest])
}

export interface Confirmation {
  readonly sender: number
  readonly window: number
  readonly packet: number
  readonly rest: Buffer
}

export function readConfirmation(payload: Buffer): Confirmation {
  const fields = new FieldReader(payload, 5)
  return { sender: fields.u32(), window: fields.u32(), packet: fields.u32(), rest: fields.rest() }
}

export function confirmationMessage(recipient: number, { sender, window, packet, rest }: Confirmation): Buffer {
  return Buffer.concat([u8(M.openConfirmation), u32(recipient), u32(sender), u32(window), u32(packet), rest])
}

export function failureMessage(recipient: number, reason: number, text: string): Buffer {
  return Buffer.concat([u8(M.openFailure), u32(recipient), u32(reason), field(text), field('')])
}

/** The channel that a message is for; it is the number that we gave. */
export function recipientOf(payload: Buffer): number {
  return new FieldReader(payload, 1).u32()
}

export interface ChannelRequest {
  readonly type: string
  readonly wantReply: boolean
  readonly fields: FieldReader
}

export function readRequest(payload: Buffer): ChannelRequest {
  const fields = new FieldReader(payload, 5)
  const type = fields.text(64)
  return { type, wantReply: fields.u8() !== 0, fields }
}

export interface GlobalRequest extends ChannelRequest {}

export function readGlobalRequest(payload: Buffer): GlobalRequest {
  const fields = new FieldReader(payload, 1)
  const type = fields.text(64)
  return { type, wantReply: fields.u8() !== 0, fields }
}

/** A message that holds nothing but its channel: EOF, CLOSE, SUCCESS, FAILURE. */
export function plainMessage(type: number, recipient: number): Buffer {
  return Buffer.concat([u8(type), u32(recipient)])
}

export function adjustMessage(recipient: number, bytes: number): Buffer {
  return Buffer.concat([u8(M.windowAdjust), u32(recipient), u32(bytes)])
}

export function dataMessage(recipient: number, bytes: Buffer, code: number | null): Buffer {
  return Buffer.concat([dataHead(recipient, bytes.length, code), bytes])
}

/** What stands before the bytes of a data message. */
export function dataHead(recipient: number, length: number, code: number | null): Buffer {
  const head = Buffer.allocUnsafe(code === null ? 9 : 13)
  head[0] = code === null ? M.data : M.extendedData
  head.writeUInt32BE(recipient, 1)
  if (code !== null) head.writeUInt32BE(code, 5)
  head.writeUInt32BE(length, head.length - 4)
  return head
}

export function requestMessage(recipient: number, type: string, wantReply: boolean, ...rest: Buffer[]): Buffer {
  return Buffer.concat([u8(M.request), u32(recipient), field(type), u8(wantReply ? 1 : 0), ...rest])
}

/** The bytes of a data message, a view. `code` is null for the plain stream. */
export function readData(payload: Buffer): { readonly bytes: Buffer; readonly code: number | null } {
  const fields = new FieldReader(payload, 5)
  const code = payload[0] === M.extendedData ? fields.u32() : null
  const bytes = fields.bytes()
  fields.end()
  return { bytes, code }
}
