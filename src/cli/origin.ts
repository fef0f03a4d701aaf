import { SallyportError } from '../errors.ts'
import { plain } from './output.ts'

/**
 * The address of a control plane. INVARIANT: the bearer that goes with each call leaves this machine only under TLS: http
 * is for loopback.
 */
export function checkedOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  const bare = url !== null && url.href === `${url.origin}/` && !text.includes('\\')
  if (url === null || !bare || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new SallyportError('bad_request', `'${plain(text)}' is no address of a control plane`, {
      remedy: 'write it as https://access.example.com, with nothing behind the host',
    })
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new SallyportError(
      'bad_request',
      `'${plain(text)}' is not https, and would show your credentials to the network`,
      {
        remedy: 'write it with https; http is for a control plane on this machine',
      },
    )
  }
  return url.origin
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}
