/**
 * What a recorded terminal may do to the terminal of whoever looks: print, move, colour, erase, scroll, and use the other
 * screen. Everything else goes: titles, links, clipboard, questions that the terminal would answer as if it had been typed,
 * modes of mouse and paste, printing, strings of any kind (RE6). What is not in these lists is dropped, whatever it is.
 */
const printable = /[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/y
const controls = new Set('\b\t\n\v\f\r\x0e\x0f')
const escapes = new Set('78DEM') // save, restore, index, next line, reverse index
const strings = new Set(']PX^_') // OSC, DCS, SOS, PM, APC
const charsets = new Set('B0') // ASCII, lines and corners
const commands = new Set('ABCDEFGHIJKLMPSTXZ@`abdefmrsu')
const privateModes = new Set(['1', '6', '7', '12', '25', '47', '1047', '1048', '1049'])
const otherScreens = new Set(['47', '1047', '1049'])
const maxParameters = 64
const maxNumber = 9_999

type State = 'ground' | 'escape' | 'charset' | 'skip' | 'command' | 'string'

/** A filter over the text of one terminal. A sequence may lie across any number of calls; nothing of it is held but its parameters. */
export class TerminalFilter {
  #state: State = 'ground'
  #introducer = ''
  #parameters = ''
  #tooLong = false
  #otherScreen: string | undefined
  #scrollRegion = false

  write(text: string): string {
    let out = ''
    for (let at = 0; at < text.length; ) {
      if (this.#state === 'ground') {
        printable.lastIndex = at
        const run = printable.exec(text)?.[0]
        if (run !== undefined) {
          out += run
          at += run.length
          continue
        }
      }
      out += this.#step(text[at]!)
      at++
    }
    return out
  }

  /** What brings the viewer's terminal back from wherever the recording left it. */
  restore(): string {
    const region = this.#scrollRegion ? '\x1b7\x1b[r\x1b8' : ''
    const screen = this.#otherScreen === undefined ? '' : `\x1b[?${this.#otherScreen}l`
    return `${region}${screen}\x1b[0m\x1b(B\x1b)B\x0f\x1b[4l\x1b[?1;6l\x1b[?7;25h`
  }

  #step(char: string): string {
    if (char === '\x1b') {
      this.#state = 'escape' // also inside of another sequence, which ends there
      return ''
    }
    if (char === '\x18' || char === '\x1a') {
      this.#state = 'ground'
      return ''
    }
    switch (this.#state) {
      case 'ground':
        return controls.has(char) ? char : ''
      case 'escape':
        return this.#escape(char)
      case 'charset':
        this.#state = 'ground'
        return charsets.has(char) ? `\x1b${this.#introducer}${char}` : ''
      case 'skip':
        this.#state = 'ground'
        return ''
      case 'command':
        return this.#command(char)
      case 'string':
        if (char === '\x07' || char === '\u009c') this.#state = 'ground'
        return ''
    }
  }

  #escape(char: string): string {
    this.#introducer = char
    if (char === '[') {
      this.#state = 'command'
      this.#parameters = ''
      this.#tooLong = false
    } else if (strings.has(char)) this.#state = 'string'
    else if (char === '(' || char === ')') this.#state = 'charset'
    else if (char >= ' ' && char <= '/') this.#state = 'skip'
    else {
      this.#state = 'ground'
      if (escapes.has(char)) return `\x1b${char}`
    }
    return ''
  }

  #command(char: string): string {
    if (char >= ' ' && char <= '?') {
      if (this.#parameters.length < maxParameters) this.#parameters += char
      else this.#tooLong = true
      return ''
    }
    this.#state = 'ground'
    return this.#tooLong ? '' : this.#allowed(this.#parameters, char)
  }

  #allowed(parameters: string, final: string): string {
    if (parameters.startsWith('?')) return final === 'h' || final === 'l' ? this.#mode(parameters.slice(1), final) : ''
    if (!/^[0-9;:]*$/.test(parameters) || (parameters.includes(':') && final !== 'm')) return ''
    const numbers = parameters.split(/[;:]/)
    if (numbers.some(number => Number(number) > maxNumber)) return ''
    if (final === 'h' || final === 'l') return parameters === '4' ? `\x1b[4${final}` : '' // insert or overwrite
    if (!commands.has(final)) return ''
    if ((final === 's' || final === 'u') && parameters !== '') return ''
    if (final === 'T' && numbers.length > 1) return '' // tracks the mouse
    if (final === 'r') this.#scrollRegion = parameters !== ''
    return `\x1b[${parameters}${final}`
  }

  #mode(parameters: string, final: 'h' | 'l'): string {
    const kept = parameters.split(';').filter(mode => privateModes.has(mode))
    if (kept.length === 0) return ''
    const screen = kept.find(mode => otherScreens.has(mode))
    if (screen !== undefined) this.#otherScreen = final === 'h' ? screen : undefined
    return `\x1b[?${kept.join(';')}${final}`
  }
}
