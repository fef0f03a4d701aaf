import { BlockList, isIP, isIPv4 } from 'node:net'

/**
 * Whether a client's address lies in one of the ranges of `session.from` (addresses or CIDR). An empty list admits
 * nobody, an entry that is no range admits nobody, and an address that is none is outside.
 */
export function isFrom(ranges: readonly string[], address: string): boolean {
  const plain = plainAddress(address)
  if (plain === undefined) return false
  const list = new BlockList()
  for (const range of ranges) add(list, range)
  return list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
}

/** An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 address; a zone (`%eth0`) is not part of it. */
function plainAddress(address: string): string | undefined {
  const bare = address.replace(/%.*$/, '')
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1]
  const plain = mapped ?? bare
  return isIP(plain) === 0 ? undefined : plain
}

function add(list: BlockList, range: string): void {
  const [net, bits, ...rest] = range.split('/')
  const family = isIP(net!)
  if (family === 0 || rest.length > 0) return
  const most = family === 4 ? 32 : 128
  const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : -1
  if (prefix < 0 || prefix > most) return
  list.addSubnet(net!, prefix, family === 4 ? 'ipv4' : 'ipv6')
}
