declare module 'pg-protocol/dist/buffer-reader.js' {
  export class BufferReader {
    buffer: Buffer
    offset: number
    string(length: number): string
  }
}
