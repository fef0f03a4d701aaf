// Stands in for the `sallyport` command where only the tree of processes matters: it is ready, and stops when it is told.
// Its gateway has workers as the real one has them.
import cluster from 'node:cluster'

const role = process.argv[process.argv.indexOf('--roles') + 1]
console.log(`${role} runs`)
if (process.env['SALLYPORT_TEST_PROBLEM'] === role) process.send({ problem: `${role} has a problem` })
else {
  const running =
    role === 'gateway' && cluster.isPrimary
      ? await (await import('../../dist/cli/workers.js')).runWorkers(2)
      : undefined
  process.once('SIGTERM', () => void Promise.resolve(running?.close()).then(() => process.exit(0)))
  process.send({ ready: true })
}
setInterval(() => {}, 1_000)
