/** Where segments lie. Names are relative paths made by `segmentName`; the bytes are sealed before they get here. */
export interface Store {
  /** After it resolves the bytes survive a crash of the machine. Writing the same name with the same bytes again is fine. */
  put(name: string, bytes: Buffer): Promise<void>
  /** @throws when there is none, or when it is longer than `maxBytes`. */
  get(name: string, maxBytes: number): Promise<Buffer>
  /** Removes everything of a recording, also objects that no row mentions. Nothing there is no error. */
  removeRecording(recordingId: string): Promise<void>
}

/** The hash is in the name, so that a second try with other bytes never overwrites the first. */
export function segmentName(recordingId: string, part: number, n: number, hash: string): string {
  return `${recordingId}/${part}-${String(n).padStart(6, '0')}-${hash.slice(0, 32)}.seg`
}
