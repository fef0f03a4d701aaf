/** Bytes of a header, and what contents are padded to. */
export const tarBlock = 512
/** Bytes of a name; a longer one needs a pax record. */
export const tarName = 100

/**
 * A header of POSIX ustar with no time, owner or mode of its own, so that equal files give equal bytes.
 * @param kind `0`: a plain file, `x`: a pax record for the one that follows.
 */
export function tarHeader(name: string, kind: '0' | 'x', size: number): Buffer {
  const bytes = Buffer.alloc(tarBlock)
  bytes.write(name.slice(0, tarName), 0, 'latin1')
  const octal = (at: number, length: number, value: number) =>
    bytes.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  octal(100, 8, 0o644)
  octal(108, 8, 0)
  octal(116, 8, 0)
  octal(124, 12, size)
  octal(136, 12, 0)
  bytes.write(`        ${kind}`, 148, 'latin1') // the sum is taken with blanks in its own place
  bytes.write('ustar\x0000', 257, 'latin1')
  const sum = bytes.reduce((all, byte) => all + byte, 0)
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return bytes
}

/** Bytes that fill the last block of a file. */
export const tarPadding = (size: number): number => (tarBlock - (size % tarBlock)) % tarBlock
