import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Git } from '../../../src/protocols/git/mirror/git.ts'
import { History } from '../../../src/protocols/git/mirror/history.ts'
import { mirrorLimits } from '../../../src/protocols/git/mirror/limits.ts'
import { git, MirrorWorld } from './mirror-kit.ts'

/** Repeatable: the same numbers in each run. */
function dice(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % below
  }
}

test.each([
  ['is what each brings alone', true],
  ['is not less where commits tell wrong times, and is compared with the same', false],
])('what many updates of one push bring %s', async (_, sane) => {
  using world = new MirrorWorld()
  const roll = dice(7)
  const parents: number[][] = []
  let stream = ''
  for (let n = 0; n < 60; n++) {
    const of = n === 0 || roll(12) === 0 ? [] : [...new Set([n - 1 - roll(Math.min(n, 6)), roll(3) ? n - 1 : roll(n)])]
    parents.push(of)
    const ends = of.map((p, i) => `${i === 0 ? 'from' : 'merge'} :${p + 1}\n`).join('')
    stream += `commit refs/r/${n}\nmark :${n + 1}\ncommitter a <a@b.c> ${1_700_000_000 + (sane ? n : -roll(9) * 1_000)} +0000\ndata 1\n${n % 10}${ends === '' ? '\n' : `\n${ends}`}\n`
  }
  const marks = join(world.root, 'marks')
  git(world.clone, ['fast-import', '--quiet', `--export-marks=${marks}`], { input: stream })
  const ids: string[] = []
  const lines = git(world.clone, ['cat-file', '--batch-check=%(objectname)'], {
    input: parents.map((_, n) => `refs/r/${n}\n`).join(''),
  })
  ids.push(...lines.toString().trim().split('\n'))
  const reach = (n: number): Set<number> => {
    const seen = new Set<number>()
    for (const left = [n]; left.length > 0; ) {
      const next = left.pop()!
      if (!seen.has(next)) left.push(...parents[next]!)
      seen.add(next)
    }
    return seen
  }
  const steps = Array.from({ length: 45 }, (_, i) => ({
    from: i % 9 === 0 ? null : i % 3 === 0 ? 30 : roll(60),
    to: roll(60),
  }))
  const place = new Git({ repository: join(world.clone, '.git') }, mirrorLimits)
  const named = steps.map(({ from, to }) => ({ from: from === null ? null : ids[from]!, to: ids[to]! }))
  const history = await History.of(place, named, 5)
  for (const [i, { from, to }] of steps.entries()) {
    const before = from === null ? new Set<number>() : reach(from)
    const comes = [...reach(to)].filter(n => !before.has(n))
    const told = await history.comes(named[i]!)
    expect(told.total, `${from} ${to}`).toBeGreaterThanOrEqual(comes.length)
    if (sane) {
      expect(told.total, `${from} ${to}`).toBe(comes.length)
      expect(comes.map(n => ids[n])).toEqual(expect.arrayContaining([...told.ids]))
    }
    expect(told.ids.length).toBe(Math.min(5, told.total))
    expect(told.descends, `${from} ${to}`).toBe(from !== null && reach(to).has(from))
    const common = [...reach(to)].filter(n => before.has(n))
    const base = await history.base(named[i]!, told)
    const nearest = common.filter(n => !common.some(other => other !== n && reach(other).has(n))).map(n => ids[n]!)
    if (nearest.length === 0) expect(base).toBeNull()
    else expect(nearest, `${from} ${to}`).toContain(base)
  }
})
