import type { Edits } from './world.ts'

const readerOfEngineers = /^engineers:\n {2}reader:\n.*\n.*\n/m
const testOfTheData = /\ntest_the_shop_is_open_to_engineers_by_the_data_of_this_repository if \{[\s\S]*?\n\}\n/

/** Engineers may no longer ask for `reader` on the shop: without the test, which the gate runs, and then with it. */
export const closeToReadersUntested: Edits = {
  'roles/data.yaml': text => replaced(text, readerOfEngineers, 'engineers:\n'),
}
export const closeToReaders: Edits = {
  ...closeToReadersUntested,
  'access/access_test.rego': text => replaced(text, testOfTheData, ''),
}

/** Fails where the starter policies have moved away from under a journey. */
export function replaced(text: string, from: string | RegExp, to: string): string {
  const after = text.replace(from, to)
  if (after === text) throw new Error(`there is nothing like ${from} to replace in:\n${text}`)
  return after
}
