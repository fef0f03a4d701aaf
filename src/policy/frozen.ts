/** Whether nothing in a value can change any more. Plain data only: a getter or an unknown prototype could answer differently the next time. */
export function isFrozenDeep(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  const plain = Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype
  if (!plain || !Object.isFrozen(value)) return false
  return Object.values(Object.getOwnPropertyDescriptors(value)).every(
    property => property.get === undefined && isFrozenDeep(property.value),
  )
}

/** Freezes a value and all that it holds. */
export function freezeDeep<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const member of Object.values(value)) freezeDeep(member)
  return Object.freeze(value)
}
