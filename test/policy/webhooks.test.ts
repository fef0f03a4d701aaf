import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { verifyWebhook, type WebhookSender } from '../../src/policy/repository/webhooks.ts'
import { Secret } from '../../src/secret.ts'

const now_ms = Date.UTC(2026, 10, 25, 12)
const now_s = now_ms / 1000
const body = Buffer.from('{"ref":"refs/heads/main","text":"\u00e9\\u0000"}')
const hex = (key: string | Buffer, ...parts: (string | Buffer)[]) => {
  const mac = createHmac('sha256', key)
  for (const part of parts) mac.update(part)
  return mac.digest()
}

function ask(
  sender: WebhookSender,
  secret: string | undefined,
  headers: Record<string, string>,
  change: { body?: Buffer; now_ms?: number } = {},
): boolean {
  const secrets = secret === undefined ? {} : { [sender]: new Secret(secret) }
  return verifyWebhook(sender, secrets, { header: name => headers[name], body, now_ms, ...change })
}

describe('a webhook of GitHub', () => {
  const good = { 'x-hub-signature-256': `sha256=${hex('s3cret', body).toString('hex')}` }

  test('counts with its signature over the bytes that came, and only then', () => {
    expect(ask('github', 's3cret', good)).toBe(true)
    expect(ask('github', 's3cret', good, { body: Buffer.concat([body, Buffer.from(' ')]) })).toBe(false)
    expect(ask('github', 'other', good)).toBe(false)
    expect(ask('github', undefined, good)).toBe(false)
  })

  test.each([
    {},
    { 'x-hub-signature-256': '' },
    { 'x-hub-signature-256': 'sha256=' },
    { 'x-hub-signature-256': `sha256=${hex('s3cret', body).toString('hex').slice(0, 62)}` },
    { 'x-hub-signature-256': `sha256=${hex('s3cret', body).toString('hex').toUpperCase()}` },
    { 'x-hub-signature-256': `sha256=${hex('s3cret', body).toString('hex')},sha256=00` },
    { 'x-hub-signature': `sha1=${createHmac('sha1', 's3cret').update(body).digest('hex')}` },
    { 'x-gitlab-token': 's3cret' },
  ])('with %j is refused', headers => {
    expect(ask('github', 's3cret', headers as Record<string, string>)).toBe(false)
  })
})

describe('a webhook of GitLab', () => {
  const key = Buffer.alloc(32, 7)
  const signing = `whsec_${key.toString('base64')}`
  const signed = (at_s: number, id = 'msg_1', bytes = body) => ({
    'webhook-id': id,
    'webhook-timestamp': String(at_s),
    'webhook-signature': `v1,${hex(key, `${id}.${at_s}.`, bytes).toString('base64')}`,
  })

  test('counts with its secret token, where that is what was set', () => {
    expect(ask('gitlab', 'a-token', { 'x-gitlab-token': 'a-token' })).toBe(true)
    expect(ask('gitlab', 'a-token', { 'x-gitlab-token': 'a-toke' })).toBe(false)
    expect(ask('gitlab', 'a-token', {})).toBe(false)
    expect(ask('gitlab', 'a-token', signed(now_s))).toBe(false)
  })

  test('counts with its signature within five minutes, and then the plain token opens nothing', () => {
    expect(ask('gitlab', signing, signed(now_s))).toBe(true)
    expect(ask('gitlab', signing, signed(now_s - 299))).toBe(true)
    expect(ask('gitlab', signing, signed(now_s - 301))).toBe(false)
    expect(ask('gitlab', signing, signed(now_s + 301))).toBe(false)
    expect(ask('gitlab', signing, { 'x-gitlab-token': signing })).toBe(false)
    expect(ask('gitlab', signing, { ...signed(now_s), 'webhook-id': 'msg_2' })).toBe(false)
    expect(ask('gitlab', signing, { ...signed(now_s), 'webhook-timestamp': String(now_s - 1) })).toBe(false)
    expect(ask('gitlab', 'whsec_', { ...signed(now_s), 'x-gitlab-token': 'whsec_' })).toBe(false)
  })

  test('counts when one of several signatures is good, of the version that is known', () => {
    const { 'webhook-signature': good, ...rest } = signed(now_s)
    const other = `v1,${Buffer.alloc(32).toString('base64')}`
    expect(ask('gitlab', signing, { ...rest, 'webhook-signature': `${other} ${good}` })).toBe(true)
    expect(ask('gitlab', signing, { ...rest, 'webhook-signature': other })).toBe(false)
    expect(ask('gitlab', signing, { ...rest, 'webhook-signature': good.replace('v1,', 'v1a,') })).toBe(false)
  })
})

describe('any other webhook', () => {
  const signed = (at_s: number | string) => ({
    'x-sallyport-timestamp': String(at_s),
    'x-sallyport-signature': `sha256=${hex('s3cret', `${at_s}.`, body).toString('hex')}`,
  })

  test('counts with an HMAC over time and body, within five minutes', () => {
    expect(ask('hmac', 's3cret', signed(now_s))).toBe(true)
    expect(ask('hmac', 's3cret', signed(now_s), { now_ms: now_ms + 299_000 })).toBe(true)
    expect(ask('hmac', 's3cret', signed(now_s), { now_ms: now_ms + 301_000 })).toBe(false)
    expect(ask('hmac', 's3cret', { ...signed(now_s), 'x-sallyport-timestamp': String(now_s - 1) })).toBe(false)
    expect(ask('hmac', 's3cret', signed(`${now_s}e0`))).toBe(false)
    expect(ask('hmac', 's3cret', { 'x-sallyport-signature': signed(now_s)['x-sallyport-signature'] })).toBe(false)
  })
})
