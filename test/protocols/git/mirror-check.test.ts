import { describe, expect, test } from 'vitest'
import { faultsOf } from '../../../src/faults.ts'
import { Options, oldFaults } from '../../../src/protocols/git/options.ts'
import { git, MirrorWorld, word } from './mirror-kit.ts'

const modules = (url: string, name = 'x') => `[submodule "${name}"]\n\tpath = x\n\turl = ${url}\n`

test('a push that leaves .gitattributes and .gitmodules as they are goes through, of a server that filters nothing too', async () => {
  for (const filter of [true, false]) {
    using world = new MirrorWorld({ filter })
    const special = { '.gitattributes': '*.txt text\n', '.gitmodules': modules('https://example.com/x') }
    world.commit('first', { ...special, 'd/.gitattributes': '*.md text\n', a: '1' })
    world.direct('main')
    const id = world.commit('second', { a: '2', 'd/.gitattributes': '*.md -text\n' })
    const [facts] = await world.push([world.update('refs/heads/main', id)])
    expect(facts).toMatchObject({ kind: 'fast-forward', paths_total: 2 })
  }
})

test('a submodule that a client would be harmed by is refused, and a name that is git’s own on some file system', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: '1' })
  world.direct('main')
  for (const [files, why] of [
    [{ '.gitmodules': modules('--upload-pack=id') }, 'gitmodulesUrl'],
    [{ '.gitmodules': modules('https://example.com/x', '../../x') }, 'gitmodulesName'],
    [{ '.gitattributes': `${'x'.repeat(3000)}\n` }, 'gitattributesLineLength'],
  ] as const) {
    const id = world.commit('bad', files)
    await expect(world.judged([world.update('refs/heads/main', id)])).rejects.toThrow(why)
    git(world.clone, ['reset', '-q', first])
  }
  const blob = world.blob('x')
  for (const name of ['.GIT', 'git~1', '.g\u200cit']) {
    const tree = git(world.clone, ['mktree'], { input: `100644 blob ${blob}\t${name}\n` })
      .toString()
      .trim()
    const id = git(world.clone, ['commit-tree', '-m', 'x', tree]).toString().trim()
    await expect(world.judged([world.update('refs/heads/main', id)])).rejects.toThrow('hasDotgit')
  }
  expect(world.left()).toEqual([])
})

describe('a file that came under another name', () => {
  const bad = modules('--upload-pack=id')

  test('is looked at when a tree names it .gitmodules or .gitattributes, and once', async () => {
    for (const filter of [true, false]) {
      using world = new MirrorWorld({ filter })
      const harmless = modules(`https://example.com/${filter}`)
      const first = world.commit('first', { notes: bad, more: harmless, long: `${'x'.repeat(3000)}\n` })
      world.direct('main')
      for (const [name, text, why] of [
        ['.gitmodules', bad, 'gitmodulesUrl'],
        ['d/.gitattributes', `${'x'.repeat(3000)}\n`, 'gitattributesLineLength'],
      ] as const) {
        const id = world.commit('bad', { [name]: text })
        await expect(world.judged([world.update('refs/heads/main', id)])).rejects.toThrow(why)
        git(world.clone, ['reset', '-q', first])
      }
      await world.push([world.update('refs/heads/main', world.commit('good', { '.gitmodules': harmless }))])
      const before = world.fetches
      world.restart()
      await world.push([world.update('refs/heads/main', world.commit('next', { other: 'x' }))])
      expect(world.fetches).toBe(before)
    }
    expect.assertions(6)
  })

  test('is looked at in a pack whose old faults are let be, too', async () => {
    using world = new MirrorWorld({ push: { fsck: { ignore: ['missingEmail'] } } })
    world.commit('first', { notes: bad })
    world.direct('main')
    const head = word(world.clone, ['rev-parse', 'main'])
    const tree = String(git(world.clone, ['mktree'], { input: `100644 blob ${world.blob(bad)}\t.gitmodules\n` })).trim()
    const text = `tree ${tree}\nparent ${head}\nauthor Ada 1 +0000\ncommitter Ada <a@example.com> 2 +0000\n\nx\n`
    const id = String(
      git(world.clone, ['hash-object', '-t', 'commit', '-w', '--literally', '--stdin'], { input: text }),
    ).trim()
    await expect(world.judged([world.update('refs/heads/main', id)])).rejects.toThrow('gitmodulesUrl')
  })

  test('is looked at although another one is named that nobody has', async () => {
    using world = new MirrorWorld()
    world.commit('first', { notes: bad })
    world.direct('main')
    const nowhere = '0123456789abcdef0123456789abcdef01234567'
    const tree = git(world.clone, ['mktree', '--missing'], {
      input: `100644 blob ${world.blob(bad)}\t.gitmodules\n100644 blob ${nowhere}\t.gitattributes\n`,
    })
    const id = word(world.clone, ['commit-tree', '-p', 'main', '-m', 'x', String(tree).trim()])
    const objects = `${id}\n${String(tree).trim()}\n`
    const pack = git(world.clone, ['pack-objects', '--stdout', '-q'], { input: objects })
    await expect(world.judged([world.update('refs/heads/main', id)], pack)).rejects.toThrow(
      /names an object \.gitmodules or \.gitattributes \(\w+\) that it does not bring and that the server does not give/,
    )
    expect(world.left()).toEqual([])
  })

  test('is not to be had of a server that hands out nothing by its id, and a push goes through there', async () => {
    using world = new MirrorWorld()
    world.protocol = ''
    world.commit('first', { '.gitmodules': modules('https://example.com/v0'), a: '1' })
    world.direct('main')
    const [facts] = await world.push([world.update('refs/heads/main', world.commit('second', { a: '2' }))])
    expect(facts).toMatchObject({ kind: 'fast-forward', paths_total: 1 })
  })
})

describe('an old history', () => {
  const dated = (line: string) => `author ${line}\ncommitter Ada <a@example.com> 2 +0000\n`
  const ofCommits = {
    badDate: dated('Ada <a@example.com> xyz +0000'),
    badDateOverflow: dated('Ada <a@example.com> 18446744073709551617 +0000'),
    badEmail: dated('Ada <a@exa<mple.com> 1 +0000'),
    badName: dated('Ada> <a@example.com> 1 +0000'),
    badTimezone: dated('Ada <a@example.com> 1 +051800'),
    missingEmail: dated('Ada 1 +0000'),
    missingNameBeforeEmail: dated('<a@example.com> 1 +0000'),
    missingSpaceBeforeDate: dated('Ada <a@example.com>1 +0000'),
    missingSpaceBeforeEmail: dated('Ada<a@example.com> 1 +0000'),
    zeroPaddedDate: dated('Ada <a@example.com> 01 +0000'),
  }
  const read = [
    ['Ada', 'a@example.com', 0],
    ['Ada', 'a@example.com', 0],
    ['Ada', 'a@exa<mple.com', 1],
    ['Ada>', 'a@example.com', 1],
    ['Ada', 'a@example.com', 1],
    ['', '', 0],
    ['', 'a@example.com', 1],
    ['Ada', 'a@example.com', 1],
    ['Ada', 'a@example.com', 1],
    ['Ada', 'a@example.com', 1],
  ]

  /** One commit of each fault upon the other, and a tree whose modes begin with a zero. */
  function oldIn(world: MirrorWorld, names: readonly string[] = ['a'], all = Object.values(ofCommits)): string {
    const write = (type: string, input: string | Buffer) =>
      git(world.clone, ['hash-object', '-w', '--literally', '--stdin', '-t', type], { input }).toString().trim()
    const blob = Buffer.from(world.blob('x\n'), 'hex')
    const tree = write('tree', Buffer.concat(names.flatMap(name => [Buffer.from(`0100644 ${name}\0`), blob])))
    let tip = ''
    for (const people of all) tip = write('commit', `tree ${tree}\n${tip && `parent ${tip}\n`}${people}\nold\n`)
    git(world.clone, ['update-ref', 'refs/heads/old', tip])
    return tip
  }

  test('is refused with all its faults, and with what takes it', async () => {
    using world = new MirrorWorld({ push: { fsck: { ignore: ['badDate'] } } })
    const id = oldIn(world)
    const refusal = await world.judged([world.update('refs/heads/old', id)]).catch(error => error)
    expect(refusal).toMatchObject({ code: 'bad_pack' })
    for (const fault of oldFaults)
      fault === 'badDate'
        ? expect(refusal.message).not.toContain('badDate in')
        : expect(refusal.message).toMatch(new RegExp(`${fault} in [0-9a-f]{12}`))
    expect(refusal.remedy).toContain(
      `\`push: { fsck: { ignore: [${oldFaults.join(', ')}] } }\` into the options of code (resources/data.yaml)`,
    )
    expect(world.left()).toEqual([])
  })

  test('is taken where the resource lets its faults be, and its people are read as git reads them', async () => {
    for (const format of ['sha1', 'sha256'] as const) {
      using world = new MirrorWorld({ format, push: { fsck: { ignore: [...oldFaults] } } })
      const [facts] = await world.push([world.update('refs/heads/old', oldIn(world))])
      const shown = facts!.commits.map(({ author, authored_at_ms }) => [
        author.name,
        author.email,
        authored_at_ms / 1000,
      ])
      expect(shown.reverse()).toEqual(read)
      const log = word(world.clone, ['log', '--reverse', '--format=%an|%ae', 'old']).split('\n')
      expect(log).toEqual(read.map(([name, email]) => `${name}|${email}`))
      // And what is built upon it, also where the push leaves a .gitmodules as it is.
      git(world.clone, ['reset', '-q', 'old'])
      world.commit('modules', { '.gitmodules': modules('https://example.com/x') })
      world.direct('HEAD:old')
      const next = `${word(world.clone, ['cat-file', 'commit', 'HEAD'])}`.replace(
        /^parent .*$/m,
        `parent ${word(world.clone, ['rev-parse', 'HEAD'])}`,
      )
      const input = next
        .replace(/^(author .*) \+0000$/m, '$1 +051800')
        .replace(/^tree .*$/m, `tree ${treeBeside(world)}`)
      const id = git(world.clone, ['hash-object', '-w', '--literally', '--stdin', '-t', 'commit'], { input })
      const [more] = await world.push([world.update('refs/heads/old', id.toString().trim())])
      expect(more).toMatchObject({ kind: 'fast-forward', paths_total: 1 })
    }
  })

  /** The tree of HEAD with one more file. */
  function treeBeside(world: MirrorWorld): string {
    git(world.clone, ['update-index', '--add', '--cacheinfo', `100644,${world.blob('more')},more`])
    return word(world.clone, ['write-tree'])
  }

  test('brings nothing with it that harms whoever fetches it', async () => {
    using world = new MirrorWorld({ push: { fsck: { ignore: [...oldFaults] } } })
    const few = [ofCommits.missingEmail]
    for (const [names, why] of [
      [['.git', 'a'], 'hasDotgit'],
      [['..', 'a'], 'hasDotdot'],
      [['a', 'a'], 'duplicateEntries'],
      [['a/b'], 'fullPathname'],
    ] as const) {
      const refused = world.judged([world.update('refs/heads/old', oldIn(world, names, few))])
      await expect(refused).rejects.toMatchObject({
        message: expect.stringContaining(`${why} in `) as string,
        remedy: expect.stringContaining('git fsck') as string,
      })
    }
    git(world.clone, ['reset', '-q', oldIn(world, ['a'], few)])
    const id = world.commit('bad', { '.gitmodules': modules('--upload-pack=id') })
    await expect(world.judged([world.update('refs/heads/old', id)])).rejects.toThrow('gitmodulesUrl in ')
  })

  test('lets nothing be that is not harmless: activation names what may stand there', () => {
    const options = (ignore: string) => ({
      repositories: { app: { path: 'app' } },
      push: { fsck: { ignore: [ignore] } },
    })
    for (const id of oldFaults) expect(faultsOf(Options, options(id))).toEqual([])
    for (const id of [
      'hasDotgit',
      'gitmodulesUrl',
      'symlinkTargetLength',
      'treeNotSorted',
      'nulInHeader',
      'missingemail',
    ])
      expect(faultsOf(Options, options(id))).toEqual([`/push/fsck/ignore/0: must be one of ${oldFaults.join(', ')}`])
  })
})
