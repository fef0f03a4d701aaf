/**
 * How an event reads to a person. What happened is the recording's; how it is said is for whoever knows its kind. INVARIANT:
 * plain text throughout, with names that people and peers chose in it: whoever shows it escapes it.
 */
export interface Reading {
  /** One line. */
  readonly title: string
  readonly tone: Tone
  /** Short words beside it: `forced`, `2 commits`. */
  readonly marks: readonly Mark[]
  readonly parts: readonly ReadingPart[]
  /** What a person may type next. */
  readonly command?: string
}

export type Tone = 'plain' | 'good' | 'warn' | 'bad'

export interface Mark {
  readonly text: string
  readonly tone: Tone
}

export interface ReadingPart {
  readonly label: string
  readonly tone: Tone
  readonly rows: readonly (readonly string[])[]
  /** Rows that are not here. */
  readonly more: number
}

/** An event as it was recorded: whatever members it holds. */
export interface ReadEvent {
  readonly kind: string
  readonly [member: string]: unknown
}

/** How events of each kind read; `undefined` for one that does not look as it should. */
export type Readings = Readonly<Record<string, (event: ReadEvent) => Reading | undefined>>
