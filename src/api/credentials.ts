import type { CookieSerializeOptions } from '@fastify/cookie'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Credentials } from '../identity/door.ts'

/** A cookie that only this very origin can set or read where it is https; on plain loopback the prefix is not possible. */
export function cookieName(origin: string, name: string): string {
  return origin.startsWith('https:') ? `__Host-${name}` : name
}

const session = 'sallyport'
const shape = (origin: string): CookieSerializeOptions => ({
  path: '/',
  httpOnly: true,
  sameSite: 'lax',
  secure: origin.startsWith('https:'),
})

export function setCookie(reply: FastifyReply, origin: string, name: string, value: string, maxAge: number): void {
  reply.setCookie(cookieName(origin, name), value, { ...shape(origin), maxAge })
}

export function clearCookie(reply: FastifyReply, origin: string, name: string): void {
  reply.clearCookie(cookieName(origin, name), shape(origin))
}

export function cookieOf(request: FastifyRequest, origin: string, name: string): string | undefined {
  return request.cookies[cookieName(origin, name)]
}

export const setSessionCookie = (reply: FastifyReply, origin: string, value: string, maxAge: number) =>
  setCookie(reply, origin, session, value, maxAge)
export const clearSessionCookie = (reply: FastifyReply, origin: string) => clearCookie(reply, origin, session)

/** What the caller presents; null when the Authorization header is there and is no bearer: a cookie does not mend it. */
export function credentialsOf(request: FastifyRequest, origin: string): Credentials | null {
  const header = request.headers.authorization
  if (header === undefined) return { cookie: cookieOf(request, origin, session) }
  const bearer = /^bearer ([\x21-\x7e]{1,256})$/i.exec(header)?.[1]
  return bearer === undefined ? null : { bearer }
}

/** Whether a browser says that the call comes from our own pages. Browsers send `Origin` with every call that changes something. */
export function isSameOrigin(request: FastifyRequest, origin: string): boolean {
  const { origin: from, 'sec-fetch-site': site } = request.headers
  if (from !== undefined) return from === origin && (site === undefined || site === 'same-origin')
  return site === 'same-origin'
}
