import { start, type Way } from './ways.ts'

/** A terminal on one of the ways, whose own echo answers. */
export class Terminal {
  readonly ready: Promise<void>
  readonly #child: ReturnType<typeof start>
  #heard: () => void = () => {}

  constructor(way: Way) {
    this.#child = start('ssh', ['-tt', ...way.options, way.host, 'echo ready; cat >/dev/null'])
    this.ready = new Promise(resolve => this.#child.stdout!.once('data', () => resolve()))
    this.#child.stdout!.on('data', () => this.#heard())
  }

  async key(): Promise<number> {
    const heard = new Promise<void>(resolve => (this.#heard = resolve))
    const sent = performance.now()
    this.#child.stdin!.write('x')
    await heard
    return performance.now() - sent
  }

  close(): void {
    this.#child.kill()
  }
}
