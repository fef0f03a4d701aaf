// Loaded into the processes that the benchmark starts, never by the product: SIGUSR2 turns recording off and on again,
// so that its cost can be told from the same process in the same run.
const { ConnectionGate } = await import('../../../dist/gateway/connection-gate.js')
const { PartRecorder } = await import('../../../dist/recording/part-recorder.js')

const { append } = PartRecorder.prototype
const settings = Object.getOwnPropertyDescriptor(ConnectionGate.prototype, 'settings')
let on = true

process.on('SIGUSR2', () => {
  on = !on
  PartRecorder.prototype.append = on ? append : () => {}
  const nothing = { level: 'metadata', results: 'none', head_rows: 0 }
  Object.defineProperty(ConnectionGate.prototype, 'settings', on ? settings : { ...settings, get: () => nothing })
})
