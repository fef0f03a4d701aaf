/** Finds values that should not be shown, in text of any origin. Data for reports and for rules still to be written. */
export interface Detector {
  readonly name: string
  readonly pattern: RegExp
  readonly confirm?: (match: string) => boolean
}

export interface Detected {
  readonly name: string
  readonly start: number
  readonly end: number
}

const digitsOf = (text: string): number[] => [...text].filter(c => c >= '0' && c <= '9').map(Number)

/** ISO/IEC 7812-1 annex B. */
export function luhn(text: string): boolean {
  const digits = digitsOf(text)
  if (digits.length < 12 || digits.length > 19 || digits.every(d => d === digits[0])) return false
  const sum = digits
    .reverse()
    .reduce((total, digit, i) => total + (i % 2 === 0 ? digit : digit > 4 ? digit * 2 - 9 : digit * 2), 0)
  return sum % 10 === 0
}

/** ISO 13616: moved round and read as a number, the remainder by 97 is 1. */
export function iban(text: string): boolean {
  const plain = text.replaceAll(' ', '')
  if (plain.length < 15 || plain.length > 34) return false
  let rest = 0
  for (const c of plain.slice(4) + plain.slice(0, 4)) {
    const value = parseInt(c, 36)
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97
  }
  return rest === 1
}

/** The United States' social security number: areas 000, 666 and 9xx, group 00 and serial 0000 were never given out. */
const ssn = (text: string): boolean => !/^(?:000|666|9)/.test(text) && !/-00-/.test(text) && !text.endsWith('0000')

export const detectors: readonly Detector[] = [
  { name: 'email', pattern: /[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}/g },
  { name: 'card', pattern: /\b\d(?:[ -]?\d){11,18}\b/g, confirm: luhn },
  { name: 'iban', pattern: /\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b/g, confirm: iban },
  { name: 'national_id_us', pattern: /\b\d{3}-\d{2}-\d{4}\b/g, confirm: ssn },
  { name: 'national_id_uk', pattern: /\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b/g },
  { name: 'private_key', pattern: /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----/g },
  { name: 'access_key', pattern: /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g },
  {
    name: 'token',
    pattern:
      /\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|xox[abprs]-[A-Za-z0-9-]{10,250}|eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000})/g,
  },
]

const maxText = 65_536

/** Where detectors find something in the first 64 KiB, in order of position. */
export function detect(text: string): readonly Detected[] {
  const found: Detected[] = []
  for (const { name, pattern, confirm } of detectors) {
    for (const match of text.slice(0, maxText).matchAll(pattern)) {
      if (confirm?.(match[0]) !== false) found.push({ name, start: match.index, end: match.index + match[0].length })
    }
  }
  return found.sort((a, b) => a.start - b.start || b.end - a.end)
}
