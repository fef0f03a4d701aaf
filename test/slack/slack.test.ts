import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { optionOf } from '../../src/slack/modal.ts'
import { hasButtons, type SlackWorld, slackWorld, textOf } from './world.ts'

let world: SlackWorld
let erin: SubjectFacts
let dana: SubjectFacts

beforeAll(async () => {
  world = await slackWorld()
  erin = await world.bound('U0ERIN', ['engineers'])
  dana = await world.bound('U0DANA', ['dbas', 'engineers'])
})
afterAll(() => world.close())

describe('asking and answering in Slack', () => {
  test('one asks with the form, one click approves, the message shows it, and a private message says how to connect', async () => {
    const id = await world.askInSlack('U0ERIN', { ticket: 'OPS-17' })
    expect(await world.request(id)).toMatchObject({
      subject: { id: erin.id },
      via: 'slack',
      ticket_ref: 'OPS-17',
      duration_s: 3600,
      state: 'pending',
    })
    expect(textOf({ text: '', blocks: [world.standIn.view('U0ERIN')!.view] })).toContain('dbas must answer')
    const message = await world.posted(id)
    const shown = textOf(message)
    for (const part of [
      'erin asks for reader on shop-db',
      'look into order 4711',
      '1 h',
      'OPS-17',
      'needs the word of a database administrator (access.dba-approves, access/access.rego:',
      '1 of dbas',
    ]) {
      expect(shown).toContain(part)
    }
    await world.standIn.click('U0DANA', message, 'approve')
    await expect.poll(() => world.request(id).then(r => r.state)).toBe('approved')
    expect((await world.request(id)).votes).toMatchObject([
      { approver: { id: dana.id }, answer: 'approve', via: 'slack' },
    ])
    await expect.poll(() => hasButtons(message)).toBe(false)
    expect(textOf(message)).toContain('Approved by dana · until')
    await expect
      .poll(() => world.standIn.messages({ channel: 'U0ERIN' }).map(textOf).join())
      .toContain('sallyport connect shop-db --role reader')
    const everything = JSON.stringify(world.standIn.messages())
    expect(everything).not.toMatch(/tkt_|password|secret/i)
  })

  test('a denial is shown, and told to who asked', async () => {
    const id = await world.askInSlack('U0ERIN')
    const message = await world.posted(id)
    await world.standIn.click('U0DANA', message, 'deny')
    await expect.poll(() => textOf(message)).toContain('Denied by dana')
    expect(hasButtons(message)).toBe(false)
    await expect
      .poll(() => world.standIn.messages({ channel: 'U0ERIN' }).map(textOf).at(-1))
      .toContain('was denied by dana')
  })

  test('what policy allows at once is granted without a message to approvers', async () => {
    const before = world.inChannel().length
    const id = await world.askInSlack('U0DANA')
    expect((await world.request(id)).state).toBe('approved')
    await expect
      .poll(() => world.standIn.messages({ channel: 'U0DANA' }).map(textOf).join())
      .toContain('sallyport connect shop-db')
    expect(world.inChannel()).toHaveLength(before)
  })

  test('what policy refuses is said in the form, with the rule', async () => {
    await world.askInSlack('U0ERIN', { duration: '28800', role: optionOf('writer') })
    expect(world.standIn.view('U0ERIN')?.errors['role']).toMatch(
      /28800 s asked; writer lasts at most 3600 s here.*access\.too-long/,
    )
  })

  test('a role of two stages is asked of the first, then of the second', async () => {
    await world.bound('U0SAM', ['security-admins'])
    const id = await world.askInSlack('U0ERIN', { role: optionOf('admin'), duration: '900' })
    const first = await world.posted(id)
    expect(textOf(first)).toContain('Stage 1 of 2')
    await world.standIn.click('U0SAM', first, 'approve')
    await expect.poll(() => world.told('U0SAM').at(-1)).toContain('not counted')
    await world.standIn.click('U0DANA', first, 'approve')
    const second = await world.posted(id, 1)
    await expect.poll(() => textOf(first)).toContain('Stage 1 is through')
    expect(textOf(second)).toContain('Stage 2 of 2')
    await world.standIn.click('U0SAM', second, 'approve')
    await expect.poll(() => world.request(id).then(r => r.state)).toBe('approved')
    await expect.poll(() => hasButtons(second)).toBe(false)
  })

  test('what was answered on the web page shows in Slack, and an unanswered request expires there', async () => {
    const id = await world.askInSlack('U0ERIN')
    const message = await world.posted(id)
    await world.approvals.vote({ request_id: id, approver: dana, answer: 'approve', via: 'web' })
    await world.slack.sweep() // the notice of another process was lost: the sweep finds it
    expect(textOf(message)).toContain('Approved by dana')
    const other = await world.askInSlack('U0ERIN')
    const waiting = await world.posted(other)
    await world.test.database.sql`update requests set expires_at = now() - interval '1 second' where id = ${other}`
    await world.approvals.expireDue()
    await world.slack.sweep()
    expect(textOf(waiting)).toContain('Expired: nobody answered in time')
    expect(hasButtons(waiting)).toBe(false)
  })
})

describe('who a Slack account is', () => {
  test('an account that is not linked is told to sign in, and its link starts nothing', async () => {
    await world.standIn.command('U0AVA', '/access')
    const told = world.told('U0AVA').at(-1)!
    expect(told).toContain(`${world.origin}/link`)
    expect(told).not.toMatch(/[?#&]/)
    expect(world.standIn.view('U0AVA')).toBeUndefined()
  })

  test('a wrong or used code links nothing; a good one says whose identity was linked', async () => {
    const ava = await world.person('ava', ['auditors'])
    const { code } = await world.identity.createLinkCode(ava.id)
    await world.standIn.command('U0AVA', '/access link 22222222')
    expect(world.told('U0AVA').at(-1)).toContain('Nothing was linked')
    await world.standIn.command('U0AVA', `/access link ${code.toLowerCase()}`)
    expect(world.told('U0AVA').at(-1)).toContain(`now acts as ava (${ava.id})`)
    await world.standIn.command('U0ELI', `/access link ${code}`)
    expect(world.told('U0ELI').at(-1)).toContain('Nothing was linked')
    expect(await world.identity.bySlack('T0TEST', 'U0ELI')).toBeNull()
    expect((await world.events('slack.bound')).at(-1)?.body).toMatchObject({ user_id: 'U0AVA', subject_id: ava.id })
  })

  test('who may ask for nothing gets no form', async () => {
    await world.standIn.command('U0AVA', '/access')
    expect(world.told('U0AVA').at(-1)).toContain('nothing you may ask for')
    await world.standIn.command('U0ERIN', '/access nowhere')
    expect(world.told('U0ERIN').at(-1)).toContain('no resource with “nowhere”')
    await world.standIn.command('U0ERIN', '/access help')
    expect(world.told('U0ERIN').at(-1)).toContain('/access link CODE')
  })
})

describe('news', () => {
  test('stands in its channel as plain text: no mention, no link, nothing bold', async () => {
    await world.slack.say('policy', '<!channel> *commit* <https://evil.example|here> was refused')
    const [message] = world.standIn.messages({ channel: 'policy' })
    expect(textOf(message!)).toContain('<!channel> *commit* <https://evil.example|here> was refused')
    expect(JSON.stringify(message!.blocks)).not.toContain('mrkdwn')
    expect(message!.text).toContain('&lt;!channel&gt;')
    await expect(world.slack.say('policy', '')).resolves.toBeUndefined()
  })
})
