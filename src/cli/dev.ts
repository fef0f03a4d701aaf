/** `sallyport dev`: the development system. The only place outside `src/dev` that loads it. */
export async function dev(): Promise<void> {
  const { dev: run } = await import('../dev/main.ts')
  await run()
}
