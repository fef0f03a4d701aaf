import { expect, test } from 'vitest'
import { Endings } from '../../src/gateway/endings.ts'

test('FA1: an end that the database could not take is written once the database is back', async () => {
  const written: string[] = []
  let away = true
  await using endings = new Endings(async (id, code, reason) => {
    if (away) throw new Error('connection refused')
    written.push(`${id} ${code} ${reason}`)
  })
  endings.add('ses_1', 'offline', 'the database was silent')
  endings.add('ses_1', 'closed', 'a later reason')
  await expect.poll(() => endings.size).toBe(1)
  expect(written).toEqual([])
  away = false
  await expect.poll(() => written, { timeout: 10_000 }).toEqual(['ses_1 offline the database was silent'])
  await expect.poll(() => endings.size).toBe(0)
})

test('a process that stops tries no longer than its last try', async () => {
  let tries = 0
  const endings = new Endings(async () => {
    tries++
    throw new Error('connection refused')
  })
  endings.add('ses_1', 'offline', 'the database was silent')
  await expect.poll(() => tries).toBe(1)
  await endings[Symbol.asyncDispose]()
  expect(endings.size).toBe(0)
})
