/** A browser without a window: fetch with a cookie jar for each host, following redirects one by one. */
export class Browser {
  readonly #jar = new Map<string, Map<string, { value: string; path: string }>>()

  cookies(origin: string): Map<string, { value: string; path: string }> {
    const { host } = new URL(origin)
    let own = this.#jar.get(host)
    if (own === undefined) this.#jar.set(host, (own = new Map()))
    return own
  }

  /** One exchange, no redirects. */
  async send(url: string, init: RequestInit & { headers?: Record<string, string> } = {}): Promise<Response> {
    const { pathname } = new URL(url)
    const cookies = [...this.cookies(url)].filter(([, c]) => pathname.startsWith(c.path))
    const header = cookies.map(([name, { value }]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, {
      ...init,
      redirect: 'manual',
      headers: { ...init.headers, ...(header === '' ? {} : { cookie: header }) },
    })
    for (const line of response.headers.getSetCookie()) this.#keep(url, line)
    return response
  }

  /** Follows redirects until `stop` says that this is the place. @returns the last URL and answer. */
  async follow(
    url: string,
    stop: (url: string) => boolean = () => false,
  ): Promise<{ url: string; response: Response | null }> {
    let at = url
    for (let i = 0; i < 20; i++) {
      if (stop(at)) return { url: at, response: null }
      const response = await this.send(at)
      const next = response.headers.get('location')
      if (next === null) return { url: at, response }
      at = new URL(next, at).href
    }
    throw new Error('too many redirects')
  }

  /** Signs in at the development identity provider: opens `url`, presses the person's button, goes on until `stop`. */
  async signIn(
    url: string,
    sub: string,
    stop: (url: string) => boolean,
  ): Promise<{ url: string; response: Response | null }> {
    const page = await this.follow(url)
    if (!page.url.includes('/interaction/'))
      throw new Error(`no sign-in page at ${page.url}: ${await page.response?.text()}`)
    const pressed = await this.send(`${page.url}/sign-in`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ sub }).toString(),
    })
    return this.follow(new URL(pressed.headers.get('location') ?? '', page.url).href, stop)
  }

  #keep(url: string, line: string): void {
    const [pair = '', ...attributes] = line.split(';').map(part => part.trim())
    const name = pair.slice(0, pair.indexOf('='))
    const value = pair.slice(name.length + 1)
    const path = attributes.find(a => /^path=/i.test(a))?.slice(5) ?? '/'
    const expires = attributes.find(a => /^expires=/i.test(a))?.slice(8)
    const gone =
      attributes.some(a => /^max-age=0$/i.test(a)) || (expires !== undefined && Date.parse(expires) < Date.now())
    if (gone) this.cookies(url).delete(name)
    else this.cookies(url).set(name, { value, path })
  }
}
