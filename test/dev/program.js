// Stands in for the `sallyport` command where only the tree of processes matters: it is ready, and stops when it is told.
const role = process.argv[process.argv.indexOf('--roles') + 1]
console.log(`${role} runs`)
if (process.env.SALLYPORT_TEST_PROBLEM === role) process.send({ problem: `${role} has a problem` })
else process.send({ ready: true })
if (process.env.SALLYPORT_TEST_DEAF !== undefined) process.on('SIGTERM', () => {})
setInterval(() => {}, 1_000)
