// Sends numbered messages from PHP through gateways that fail repeatedly, to clients that recover, on every kind of
// channel; counts lost, duplicate and disordered messages and false presence events.
//
//     node tests/chaos/gateway.mjs --failure=roll --messages=20000 --times=10 --clients=3 --rate=200 --gateways=1
//
//   roll     the gateway is stopped once its successor listens
//   kill     the gateway is killed (SIGKILL) once its successor listens, possibly in the middle of a write
//   cold     the gateway is killed, then its successor starts
//   freeze   Kafka is suspended (SIGSTOP) for --outage seconds
//   outage   Kafka is killed and restarted after --outage seconds
//   freeze-one, outage-one   only the first gateway loses Kafka: no bytes arrive, or no connection is accepted
//   stop-one                 the first gateway is suspended (SIGSTOP)
//
// Kafka: the embedded broker, or REALTIME_TEST_BROKERS. freeze and outage need the name of a node of
// tests/support/kafka.sh in REALTIME_TEST_KAFKA; those of one gateway start a node. Exit code 1 if a message was
// lost, duplicated or out of order, or if a member was removed although all of them stayed. Gateways remove the members
// of a gateway that is silent for ten seconds; after a longer failure of one they must be added again, each once.

import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { recover } from '../../clients/js/recovery.js'
import { npm, ROOT } from '../browser/support/npm.js'
import { sleep, until } from '../browser/support/process.js'
import { Stack } from '../browser/support/stack.js'
import { TcpProxy } from '../browser/support/tcp-proxy.js'

const Pusher = npm('pusher-js')
const FAILURES = ['roll', 'kill', 'cold', 'freeze', 'outage', 'freeze-one', 'outage-one', 'stop-one']
const CHANNELS = ['private-ticker.1', 'presence-ticker.1', 'private-cache-ticker.1', 'cache-ticker.1', 'ticker.1']
/** pusher-js waits 15 s after a refused connection. */
const RECONNECT_MS = 60_000

const kafka = async (command, ...options) => promisify(execFile)(
  path.join(ROOT, 'tests/support/kafka.sh'), [command, `--name=${process.env.REALTIME_TEST_KAFKA}`, ...options], { timeout: 90_000 })

const isOfOne = failure => failure.endsWith('-one')

/** Gateways stay, only Kafka fails: clients stay connected, each to a gateway of its own. */
const isOfKafka = failure => isOfOne(failure) || ['freeze', 'outage'].includes(failure)

/** Starts a Kafka of its own that the first gateway reaches only through a proxy. */
async function kafkaBehindProxy() {
  const proxy = await TcpProxy.start()
  process.env.REALTIME_TEST_KAFKA = `proxied-${process.pid}`
  const { stdout } = await kafka('start', `--owner=${process.pid}`, `--proxy=${proxy.port}`)
  process.env.REALTIME_TEST_BROKERS = stdout.trim()
  proxy.target = Number(/proxied=127\.0\.0\.1:(\d+)/.exec((await kafka('secure')).stdout)[1])
  return proxy
}

/** What one client received on one channel. */
class Received {
  count = 0
  highest = 0
  twice = 0
  disordered = 0
  unrecovered = 0

  constructor(messages) {
    this.seen = new Uint8Array(messages + 1)
  }

  add(n) {
    this.count++
    if (this.seen[n]++) this.twice++
    if (n < this.highest) this.disordered++
    this.highest = Math.max(this.highest, n)
  }

  lost() {
    return this.seen.subarray(1).reduce((zeros, times) => zeros + (times === 0 ? 1 : 0), 0)
  }
}

/** A client with a subscription of every kind. */
class Listener {
  offline = []
  added = 0
  removed = 0
  warm = false

  constructor(stack, user, messages, port = stack.port) {
    this.channels = new Map(CHANNELS.map(name => [name, new Received(messages)]))
    this.pusher = new Pusher(stack.key, {
      wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'], cluster: '',
      channelAuthorization: { customHandler: ({ socketId, channelName }, done) => { this.#authorize(stack, user, socketId, channelName, done) } },
    })
    recover(this.pusher, { onRecovered: (name, recovered) => { if (!recovered) this.channels.get(name).unrecovered++ } })
    let since = null
    // After an unannounced disconnect pusher-js stays for a second in the state 'connected'.
    this.pusher.connection.bind('connecting_in', () => { since ??= performance.now() })
    this.pusher.connection.bind('state_change', ({ previous, current }) => {
      if (previous === 'connected') since ??= performance.now()
      if (current === 'connected' && since !== null) { this.offline.push(performance.now() - since); since = null }
    })
    for (const [name, received] of this.channels) {
      this.pusher.subscribe(name).bind('tick', ({ n }) => received.add(n))
    }
    this.pusher.channel(CHANNELS[0]).bind('warm-up', () => { this.warm = true })
    const members = this.pusher.channel('presence-ticker.1')
    members.bind('pusher:member_added', () => this.added++).bind('pusher:member_removed', () => this.removed++)
  }

  #authorize(stack, user, socket_id, channel_name, done) {
    fetch(`${stack.url}/broadcasting/auth?user=${user}`, { method: 'POST', body: new URLSearchParams({ socket_id, channel_name }), signal: AbortSignal.timeout(10_000) })
      .then(answer => answer.json()).then(data => done(null, data), error => done(error, null))
  }

  get members() { return this.pusher.channel('presence-ticker.1').members.count }
  get subscribed() { return this.pusher.allChannels().every(channel => channel.subscribed) }
  get progress() { return this.channels.get(CHANNELS[0]).highest }
  has(messages) { return [...this.channels.values()].every(c => c.count >= messages && c.seen[messages] > 0) }
}

/** Causes one failure, and waits until it is over. */
async function fail(stack, failure, outage, proxy) {
  switch (failure) {
    case 'roll': return stack.restartGateway()
    case 'kill': return stack.replaceKilledGateway()
    case 'cold': return stack.killAndStartGateway()
    case 'freeze':
    case 'outage':
      await kafka(failure === 'freeze' ? 'pause' : 'kill')
      try {
        await sleep(outage * 1000)
      } finally {
        await kafka(failure === 'freeze' ? 'continue' : 'restart')
      }
      return
    case 'freeze-one':
    case 'outage-one':
    case 'stop-one':
      if (failure === 'freeze-one') proxy.silence()
      else if (failure === 'outage-one') proxy.cut()
      else stack.gateways[0].child.kill('SIGSTOP')
      await sleep(outage * 1000)
      stack.gateways[0].child.kill('SIGCONT')
      proxy.restore()
  }
}

/** Subscribes another socket of a user to each gateway; returns the numbers of members that it sees. */
async function membersSeen(stack, user) {
  return Promise.all(stack.gateways.map(async ({ port }) => {
    const visitor = new Listener(stack, user, 0, port)
    await until(() => visitor.subscribed, 'the visitor is subscribed')
    const { members } = visitor
    visitor.pusher.disconnect()
    return members
  }))
}

/**
 * Sends messages during the failures.
 *
 * @returns {Promise<{channels: object[], clients: object[], seconds: number}>} channels: one row for each kind, summed
 *          over the clients; clients: reconnects, the longest time offline in ms, and member events
 */
export async function run({ failure, messages, times, clients = 3, rate = 200, gateways = 1, outage = 10, say = () => {} }) {
  const proxy = isOfOne(failure) ? await kafkaBehindProxy() : null
  const stack = await Stack.start({
    settings: { public_channels: ['ticker.*', 'cache-ticker.*'] },
    gatewayEnv: proxy ? { KAFKA_BROKERS: `127.0.0.1:${proxy.port}` } : {},
  })
  const listeners = []
  const seen = []
  const events = () => kafka('count', `${stack.env.KAFKA_TOPIC_PREFIX}.__events`).then(({ stdout }) => Number(stdout))
  let written = 0
  try {
    // Behind a shared port, the clients of a gateway are not known.
    while (stack.gateways.length < gateways) await stack.startGateway(isOfKafka(failure) ? 0 : stack.port)
    for (let i = 0; i < clients; i++) {
      listeners.push(new Listener(stack, `user${i}`, messages, stack.gateways[i % gateways].port))
    }
    await until(() => listeners.every(l => l.subscribed && l.members === clients), 'every client sees every member')
    // The gateway discovers a new topic within seconds, and then delivers all of its records at once.
    await until(async () => { await stack.broadcast('ticker.1', 'warm-up'); return listeners.every(l => l.warm) }, 'the topic is delivered')
    for (const listener of listeners) listener.added = listener.removed = 0
    if (isOfKafka(failure)) written = await events()
    const started = performance.now()
    const burst = 20
    let sent = false
    const sending = stack.broadcastMany('ticker.1', 'tick', 1, messages, Math.round(burst / rate * 1e6), burst).then(() => { sent = true })
    for (let i = 1; i <= times; i++) {
      const next = i * messages / (times + 1)
      await until(() => sent || listeners.every(l => l.progress >= next), `message ${next}`, RECONNECT_MS + messages)
      await fail(stack, failure, outage, proxy)
      say(`${failure} ${i}: at message ${listeners[0].progress}`)
      if (isOfKafka(failure)) {
        await sleep(2000)
        seen.push(...await membersSeen(stack, 'user0'))
        say(`members after 2 s: ${seen.join(' ')}`)
      }
    }
    await sending
    await until(() => listeners.every(l => l.has(messages)), 'everything received', RECONNECT_MS).catch(() => {})
    // Duplicates may arrive late, and so may removals: a member is removed five seconds after a drained gateway, ten
    // after a killed one.
    await sleep(failure === 'roll' ? 6000 : 12_000)
    const seconds = (performance.now() - started) / 1000
    const sum = (name, value) => listeners.reduce((total, l) => total + value(l.channels.get(name)), 0)
    return {
      seconds,
      seen,
      written: isOfKafka(failure) ? await events() - written : 0,
      channels: CHANNELS.map(channel => ({
        channel,
        failure,
        sent: messages * clients,
        lost: sum(channel, c => c.lost()),
        twice: sum(channel, c => c.twice),
        disordered: sum(channel, c => c.disordered),
        unrecovered: sum(channel, c => c.unrecovered),
      })),
      clients: listeners.map(l => ({
        reconnects: l.offline.length, offline: Math.round(Math.max(0, ...l.offline)), added: l.added, removed: l.removed, members: l.members,
      })),
    }
  } finally {
    listeners.forEach(l => l.pusher.disconnect())
    await stack.stop()
    if (proxy) {
      await proxy.stop()
      await kafka('stop')
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = { failure: 'roll', messages: 20_000, times: 10, clients: 3, rate: 200, gateways: 1, outage: 10 }
  for (const argument of process.argv.slice(2)) {
    const [, name, value] = /^--(\w+)=([\w-]+)$/.exec(argument) ?? []
    const valid = name === 'failure' ? FAILURES.includes(value) : name in options && /^\d+$/.test(value)
    if (!valid) {
      console.error(`Unknown argument ${argument}. Usage: gateway.mjs ${Object.entries(options).map(([n, v]) => `[--${n}=${v}]`).join(' ')}; failures: ${FAILURES.join(', ')}`)
      process.exit(2)
    }
    options[name] = name === 'failure' ? value : Number(value)
  }
  const { channels, clients, seconds, seen, written } = await run({ ...options, say: text => console.error(`    ${text}`) })
  console.table(channels)
  console.table(clients)
  console.log(`${options.messages} messages on ${CHANNELS.length} channels to ${options.clients} clients in ${seconds.toFixed(1)} s, ${options.times} × ${options.failure}`)
  if (isOfKafka(options.failure)) console.log(`members seen after 2 s: ${seen.join(' ')}; ${written} records in __events`)
  // The others remove the members of a gateway that is silent for ten seconds, and add them when it comes back: on
  // sockets and in __events.
  const isRemoved = isOfOne(options.failure) && options.outage > 5
  const held = channels.every(c => c.lost + c.twice + c.disordered === 0)
    && clients.every(c => (isRemoved ? c.removed === c.added : c.removed === 0) && c.members === options.clients)
    // After a gateway was killed the others may never have known its members: they are added when they reconnect.
    && (isRemoved || ['cold', 'kill'].includes(options.failure) || clients.every(c => c.added === 0))
    && seen.every(members => members === options.clients)
    && (isRemoved ? written % 2 : written) === 0
  process.exit(held ? 0 : 1)
}
