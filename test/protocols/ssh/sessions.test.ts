import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSshWorld, type SshWorld } from './world.ts'

let world: SshWorld
beforeAll(async () => {
  world = await createSshWorld()
})
afterAll(() => world?.close())

describe('commands', () => {
  test('a command answers as it would directly', async () => {
    const { code, stdout, stderr } = await world.run('echo out; echo err >&2; exit 3')
    expect({ code, stdout: stdout.toString(), stderr }).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' })
  })
})
