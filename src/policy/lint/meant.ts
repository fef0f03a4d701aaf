/** What was probably meant, as the end of a sentence: the nearest of the words that there are, else all of them. */
export function meant(written: string, words: Iterable<string>, quote = (word: string) => word): string {
  const all = [...words]
  const near = nearest(written, all)
  if (near !== undefined) return `did you mean ${quote(near)}?`
  const listed = all.slice(0, 12).map(quote).join(', ')
  return `there ${all.length === 1 ? 'is' : 'are'} ${listed}${all.length > 12 ? ', …' : ''}`
}

/** The word that takes the fewest changes, when few are enough; of several the one that begins alike. */
export function nearest(written: string, words: readonly string[]): string | undefined {
  const most = Math.max(1, Math.floor(written.length / 3))
  let best: { word: string; distance: number } | undefined
  for (const word of words) {
    if (Math.abs(word.length - written.length) > most) continue
    const alike = word[0]?.toLowerCase() === written[0]?.toLowerCase()
    const distance = changes(written.toLowerCase(), word.toLowerCase()) + (alike ? 0 : 0.5)
    if (Math.floor(distance) <= most && (best === undefined || distance < best.distance)) best = { word, distance }
  }
  return best?.word
}

/** Letters to insert, leave out, replace or swap with their neighbour. */
function changes(from: string, to: string): number {
  let before: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const now = [i]
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1]
      now[j] = Math.min(last[j]! + 1, now[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) now[j] = Math.min(now[j]!, before[j - 2]! + 1)
    }
    before = last
    last = now
  }
  return last[to.length]!
}
