// Sends numbered messages from PHP through a gateway that is restarted repeatedly, to clients that recover; counts lost,
// duplicated and disordered ones.
//
//     node tests/chaos/gateway.mjs --messages=100000 --restarts=10 --clients=3 --rate=2000 --kill=0
//
// --kill=1: each gateway is killed (SIGKILL) once its successor listens, possibly in the middle of a write.
//
// Kafka: the embedded broker, or REALTIME_TEST_BROKERS. Exit code 1 if a message was lost, duplicated or out of order.

import { fileURLToPath } from 'node:url'
import { recover } from '../../clients/js/recovery.js'
import { npm } from '../browser/support/npm.js'
import { sleep, until } from '../browser/support/process.js'
import { Stack } from '../browser/support/stack.js'

const Pusher = npm('pusher-js')

class Listener {
  /** How often each number came, and how often one came after a greater one. */
  lost = 0
  twice = 0
  disordered = 0
  received = 0
  highest = 0
  offline = []
  unrecovered = 0

  constructor(stack, channel, messages) {
    this.seen = new Uint8Array(messages + 1)
    this.pusher = new Pusher(stack.key, {
      wsHost: '127.0.0.1', wsPort: stack.port, forceTLS: false, enabledTransports: ['ws'], cluster: '',
      channelAuthorization: { customHandler: ({ socketId, channelName }, done) => { this.#authorize(stack, socketId, channelName, done) } },
    })
    recover(this.pusher, { onRecovered: (_, recovered) => { if (!recovered) this.unrecovered++ } })
    let since = null
    // After an unannounced disconnect pusher-js stays for a second in the state 'connected'.
    this.pusher.connection.bind('connecting_in', () => { since ??= performance.now() })
    this.pusher.connection.bind('state_change', ({ previous, current }) => {
      if (previous === 'connected') since ??= performance.now()
      if (current === 'connected' && since !== null) { this.offline.push(performance.now() - since); since = null }
    })
    this.channel = this.pusher.subscribe(channel).bind('tick', ({ n }) => {
      this.received++
      if (this.seen[n]++) this.twice++
      if (n < this.highest) this.disordered++
      this.highest = Math.max(this.highest, n)
    })
  }

  #authorize(stack, socket_id, channel_name, done) {
    fetch(`${stack.url}/broadcasting/auth?user=ana`, { method: 'POST', body: new URLSearchParams({ socket_id, channel_name }), signal: AbortSignal.timeout(10_000) })
      .then(answer => answer.json()).then(data => done(null, data), error => done(error, null))
  }

  report() {
    this.lost = this.seen.subarray(1).reduce((zeros, times) => zeros + (times === 0 ? 1 : 0), 0)
    const { received, lost, twice, disordered, unrecovered, offline } = this
    return { received, lost, twice, disordered, unrecovered, reconnects: offline.length, offline: Math.round(Math.max(0, ...offline)) }
  }
}

/**
 * Sends and restarts; returns the counts of each client.
 *
 * @returns {Promise<{clients: object[], seconds: number}>} offline: the longest time a client was not connected, in ms
 */
export async function run({ messages, restarts, clients = 3, rate = 2000, kill = 0, say = () => {} }) {
  const stack = await Stack.start()
  const listeners = []
  try {
    for (let i = 0; i < clients; i++) listeners.push(new Listener(stack, 'private-ticker.1', messages))
    await until(() => listeners.every(l => l.channel.subscribed), 'every client subscribed')
    const started = performance.now()
    const burst = 20
    let sent = false
    const sending = stack.broadcastMany('ticker.1', 'tick', 1, messages, Math.round(burst / rate * 1e6), burst).then(() => { sent = true })
    const every = messages / (restarts + 1)
    for (let i = 1; i <= restarts; i++) {
      await until(() => sent || listeners.every(l => l.highest >= i * every), `message ${i * every}`, 60_000 + messages)
      await (kill ? stack.replaceKilledGateway() : stack.restartGateway())
      say(`restart ${i}: at message ${listeners[0].highest}`)
    }
    await sending
    const enough = () => listeners.every(l => l.seen[messages] > 0 && l.received >= messages)
    await until(enough, 'everything received', 30_000).catch(() => {})
    // Duplicates may arrive late.
    await sleep(1000)
    return { clients: listeners.map(l => l.report()), seconds: (performance.now() - started) / 1000 }
  } finally {
    listeners.forEach(l => l.pusher.disconnect())
    await stack.stop()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = { messages: 100_000, restarts: 10, clients: 3, rate: 2000, kill: 0 }
  for (const argument of process.argv.slice(2)) {
    const [, name, value] = /^--(\w+)=(\d+)$/.exec(argument) ?? []
    if (!(name in options)) {
      console.error(`Unknown argument ${argument}. Usage: gateway.mjs [--messages=100000] [--restarts=10] [--clients=3] [--rate=2000] [--kill=0]`)
      process.exit(2)
    }
    options[name] = Number(value)
  }
  const { clients, seconds } = await run({ ...options, say: text => console.error(`    ${text}`) })
  console.table(clients)
  console.log(`${options.messages} messages to ${options.clients} clients in ${seconds.toFixed(1)} s, ${options.restarts} ${options.kill ? 'gateways killed' : 'restarts'}`)
  process.exit(clients.every(c => c.lost + c.twice + c.disordered === 0) ? 0 : 1)
}
