/** One figure of a benchmark, as a line of JSON. A budget is the most that is allowed, or with `least` the least. */
export function figure(
  bench: string,
  name: string,
  value: number,
  unit: string,
  budget: { readonly most: number } | { readonly least: number } | null = null,
): void {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 2 : 4
  const bound = budget === null ? null : 'most' in budget ? budget.most : budget.least
  const met = budget === null ? null : 'most' in budget ? value <= budget.most : value >= budget.least
  console.log(JSON.stringify({ bench, figure: name, value: Number(value.toFixed(digits)), unit, budget: bound, met }))
}

/** The value below which the share `q` of them lies. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * q) - 1)] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}
