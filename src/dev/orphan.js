// Loaded first (`node --import`) into every process of the development tree: when the process that started it is gone,
// by whatever means, it asks itself to stop in order, and stops for certain ten seconds later.
if (process.channel) {
  process.once('disconnect', () => {
    process.kill(process.pid, 'SIGTERM')
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 10_000).unref()
  })
  process.channel.unref() // waiting for that must not keep a process alive which has finished
}
