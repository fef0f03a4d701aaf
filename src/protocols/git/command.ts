/** The commands that a git server understands, exactly as git's own clients write them (git-shell(1), GI1). */
export type Asked =
  | { readonly kind: 'upload-pack' | 'receive-pack' | 'upload-archive'; readonly path: string }
  | {
      readonly kind: 'lfs'
      readonly program: 'authenticate' | 'transfer'
      readonly path: string
      readonly operation: 'upload' | 'download'
    }
  | { readonly kind: 'exec'; readonly argv: readonly [string, ...string[]] }

const service = /^git[- ](upload-pack|receive-pack|upload-archive) '([^'\\!\n\r]{1,512})'$/
const lfs =
  /^git-lfs-(authenticate|transfer) (?:'([^'\\!\n\r]{1,512})'|([A-Za-z0-9_/][A-Za-z0-9_./+-]{0,511})) (upload|download)(?: [0-9a-f]{64})?$/
/** Read alike by every shell, and by servers that split at spaces. */
const words = /^[A-Za-z0-9][A-Za-z0-9_.+-]{0,255}(?: [A-Za-z0-9_.+@:,/-][A-Za-z0-9_.+@:,=/-]{0,255}){0,32}$/

/** `undefined`: none of them, to the last byte. */
export function parseCommand(line: string): Asked | undefined {
  const [, kind, path] = service.exec(line) ?? []
  if (path !== undefined) return { kind: kind as 'upload-pack' | 'receive-pack' | 'upload-archive', path }
  const [, program, quoted, plain, operation] = lfs.exec(line) ?? []
  if (operation !== undefined)
    return {
      kind: 'lfs',
      program: program as 'authenticate' | 'transfer',
      path: quoted ?? plain!,
      operation: operation as 'upload' | 'download',
    }
  if (!words.test(line) || /^git[- ]/.test(line)) return undefined
  return { kind: 'exec', argv: line.split(' ') as [string, ...string[]] }
}

/** INVARIANT: the path comes from the resource's options, which hold no character that a shell would read as more than itself. */
export function lineOf(kind: string, path: string): string {
  return `git-${kind} '${path}'`
}
