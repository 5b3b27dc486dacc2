// Tests the recovery plugin in real pusher-js and laravel-echo against a scripted WebSocket server.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { afterEach, test } from 'node:test'
import { recover } from './recovery.js'
import { npm, npmFile } from '../../tests/browser/support/npm.js'

const Pusher = npm('pusher-js')
const { default: Echo } = await import(npmFile('laravel-echo/dist/echo.js'))
const { WebSocketServer } = npm('ws')

const opened = []
afterEach(() => {
  for (const close of opened.splice(0).reverse()) close()
})

/** Accepts connections; `next()` returns the next one, with the frames it has received in order. */
async function serve() {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const arrived = []
  const waiting = []
  server.on('connection', socket => {
    const peer = new Peer(socket)
    waiting.length ? waiting.shift()(peer) : arrived.push(peer)
  })
  opened.push(() => { server.clients.forEach(socket => socket.terminate()); server.close() })
  return {
    port: server.address().port,
    next: () => within(arrived.length ? arrived.shift() : new Promise(resolve => waiting.push(resolve)), 'a connection'),
  }
}

class Peer {
  #frames = []
  #wake = () => {}

  constructor(socket) {
    this.socket = socket
    socket.on('message', bytes => { this.#frames.push(JSON.parse(bytes)); this.#wake() })
    this.send('pusher:connection_established', { socket_id: `${Math.floor(Math.random() * 1e9)}.1`, activity_timeout: 30 })
  }

  send(event, data, channel) {
    this.socket.send(JSON.stringify({ event, channel, data: JSON.stringify(data) }))
  }

  /** Returns the data of the client's next frame, which must have this event name. */
  async expect(event) {
    await within((async () => { while (!this.#frames.length) await new Promise(resolve => { this.#wake = resolve }) })(), event)
    const frame = this.#frames.shift()
    assert.equal(frame.event, event)
    return frame.data
  }

  async subscribes(channel) {
    assert.equal((await this.expect('pusher:subscribe')).channel, channel)
    this.send('pusher_internal:subscription_succeeded', {}, channel)
  }

  assertNoFrames() { assert.deepEqual(this.#frames, []) }
}

function within(promise, what) {
  let timer
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what} did not arrive within 5 s`)), 5000) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

function connect(port, options) {
  const pusher = new Pusher('key', { wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'], cluster: '', disableStats: true })
  opened.push(() => pusher.disconnect())
  const recovered = []
  const stop = recover(pusher, { onRecovered: (...what) => recovered.push(what), ...options })
  return { pusher, recovered, stop }
}

/** Collects the events the channel's listeners receive. */
function collect(pusher, channel) {
  const events = []
  pusher.subscribe(channel).bind_global((event, data) => { if (!event.startsWith('pusher:')) events.push([event, data]) })
  return events
}

const until = async (condition, what) => within((async () => { while (!condition()) await new Promise(r => setTimeout(r, 5)) })(), what)

test('requests positions before the first subscribe, and resumes before later subscribes', async () => {
  const server = await serve()
  const { pusher, recovered } = connect(server.port)
  const a = collect(pusher, 'public.a')
  const b = collect(pusher, 'public.b')

  const first = await server.next()
  assert.deepEqual(await first.expect('realtime:resume'), {})
  await first.subscribes('public.a')
  await first.subscribes('public.b')
  first.send('realtime:position', { 'public.a': 'a0', 'public.b': 'b0' })
  first.send('order', { id: 1 }, 'public.a')
  first.send('realtime:position', { 'public.a': 'a1' })
  await until(() => a.length === 1, 'the order')
  first.socket.close(4200)

  const second = await server.next()
  assert.deepEqual(await second.expect('realtime:resume'), { 'public.a': 'a1', 'public.b': 'b0' })
  await second.subscribes('public.a')
  second.send('order', { id: 2 }, 'public.a')
  second.send('realtime:recovered', { recovered: true }, 'public.a')
  await second.subscribes('public.b')
  second.send('realtime:recovered', { recovered: false }, 'public.b')
  await until(() => recovered.length === 2, 'both answers')
  assert.deepEqual(recovered, [['public.a', true], ['public.b', false]])
  assert.deepEqual(a.filter(([event]) => event === 'order'), [['order', { id: 1 }], ['order', { id: 2 }]])
  assert.deepEqual(b.filter(([event]) => event === 'order'), [])
  second.assertNoFrames()
})

test('drops each event received after the last position once from the replay', async () => {
  const server = await serve()
  const { pusher, recovered } = connect(server.port)
  const events = collect(pusher, 'public.a')
  const ids = () => events.filter(([event]) => event === 'order').map(([, data]) => data.id)

  let peer = await server.next()
  await peer.expect('realtime:resume')
  await peer.subscribes('public.a')
  peer.send('realtime:position', { 'public.a': 'at 0' })
  for (const id of [1, 2, 2]) peer.send('order', { id }, 'public.a')
  await until(() => ids().length === 3, 'three orders')
  peer.socket.close(4200)

  // This connection also breaks, during the replay and before a new position arrives.
  peer = await server.next()
  assert.deepEqual(await peer.expect('realtime:resume'), { 'public.a': 'at 0' })
  await peer.subscribes('public.a')
  for (const id of [1, 2]) peer.send('order', { id }, 'public.a')
  peer.send('client-typing', {}, 'public.a')
  await until(() => events.some(([event]) => event === 'client-typing'), 'the client event')
  assert.deepEqual(ids(), [1, 2, 2])
  peer.socket.close(4200)

  peer = await server.next()
  assert.deepEqual(await peer.expect('realtime:resume'), { 'public.a': 'at 0' })
  await peer.subscribes('public.a')
  for (const id of [1, 2, 2, 2, 3]) peer.send('order', { id }, 'public.a')
  peer.send('realtime:recovered', { recovered: true }, 'public.a')
  peer.send('order', { id: 3 }, 'public.a')
  await until(() => ids().length === 6, 'the missed orders')
  assert.deepEqual(ids(), [1, 2, 2, 2, 3, 3])
  assert.deepEqual(recovered, [['public.a', true]])
})

test('duplicates are detected even if a listener modifies the event data', async () => {
  const server = await serve()
  const { pusher } = connect(server.port)
  const ids = []
  pusher.subscribe('public.a').bind('order', data => { ids.push(data.id); data.id = 'seen' })
  let peer = await server.next()
  await peer.expect('realtime:resume')
  await peer.subscribes('public.a')
  peer.send('realtime:position', { 'public.a': 'at 0' })
  peer.send('order', { id: 1 }, 'public.a')
  await until(() => ids.length === 1, 'the order')
  peer.socket.close(4200)
  peer = await server.next()
  await peer.expect('realtime:resume')
  await peer.subscribes('public.a')
  for (const id of [1, 2]) peer.send('order', { id }, 'public.a')
  await until(() => ids.length === 2, 'the second order')
  assert.deepEqual(ids, [1, 2])
})

test('forgets unsubscribed channels, and splits large resume frames', async () => {
  const server = await serve()
  const { pusher } = connect(server.port)
  const channels = Array.from({ length: 90 }, (_, i) => `public.channel-${i}`)
  channels.forEach(channel => pusher.subscribe(channel))
  let peer = await server.next()
  await peer.expect('realtime:resume')
  for (const channel of channels) await peer.subscribes(channel)
  const token = channel => `${channel}:`.padEnd(300, 'x')
  for (const channel of [...channels, '#server-to-user-7']) peer.send('realtime:position', { [channel]: token(channel) })
  peer.send('order', {}, channels[89])
  await once(pusher.channel(channels[89]).bind('order', () => peer.socket.emit('seen')) && peer.socket, 'seen')
  pusher.unsubscribe(channels[0])
  await peer.expect('pusher:unsubscribe')
  peer.socket.close(4200)

  peer = await server.next()
  const resumed = {}
  while (Object.keys(resumed).length < 90) {
    const data = await peer.expect('realtime:resume')
    assert.ok(JSON.stringify(data).length <= 8192 + 2)
    Object.assign(resumed, data)
  }
  const expected = [...channels.slice(1), '#server-to-user-7']
  assert.deepEqual(resumed, Object.fromEntries(expected.map(channel => [channel, token(channel)])))
})

test('accepts an Echo, starts on an open connection, and stops when removed', async () => {
  const server = await serve()
  const echo = new Echo({ broadcaster: 'reverb', Pusher, key: 'key', wsHost: '127.0.0.1', wsPort: server.port, forceTLS: false, enabledTransports: ['ws'] })
  opened.push(() => echo.disconnect())
  const peer = await server.next()
  await until(() => echo.socketId(), 'the connection')
  const stop = recover(echo)
  assert.deepEqual(await peer.expect('realtime:resume'), {})
  stop()
  peer.socket.close(4200)
  const second = await server.next()
  await until(() => echo.socketId(), 'the connection')
  echo.channel('public.a')
  await second.expect('pusher:subscribe')

  assert.throws(() => recover({}), /takes a Pusher/)
})

test('package version matches the extension', () => {
  const file = name => readFileSync(new URL(name, import.meta.url), 'utf8')
  assert.equal(JSON.parse(file('package.json')).version, /^version = "(.*)"$/m.exec(file('../../Cargo.toml'))[1])
})
