import { spawn } from 'node:child_process'

/** Runs a program to its end. @returns what it printed. @throws with its own words when it fails. */
export function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    child.stdout.on('data', chunk => (out += chunk))
    child.stderr.on('data', chunk => (err += chunk))
    child.on('error', reject)
    child.on('close', code => (code === 0 ? resolve(out) : reject(new Error(`${program}: ${err}`))))
  })
}

/** pgbench's one-row SELECT. @returns transactions a second. */
export async function pgbench(
  url: string,
  mode: string,
  clients: number,
  seconds: number,
  more: readonly string[] = [],
): Promise<number> {
  const threads = Math.min(clients, 2)
  const args = ['-n', '-S', '-M', mode, '-c', `${clients}`, '-j', `${threads}`, '-T', `${seconds}`, ...more, url]
  const out = await run('pgbench', args)
  const tps = /tps = ([\d.]+)/.exec(out)?.[1]
  if (tps === undefined) throw new Error(`pgbench gave no figure: ${out}`)
  return Number(tps)
}
