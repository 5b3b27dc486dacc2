// Pusher's own server library, unmodified: the gateways accept its events, queries and signatures.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { npm } from './support/npm.js'
import { Stack } from './support/stack.js'
import { until } from './support/process.js'

const Pusher = npm('pusher-js')
const Server = npm('pusher')

let stack, server
const browsers = []
before(async () => {
  const webhook_events = ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed', 'client_event', 'cache_miss']
  stack = await Stack.start({ settings: { webhook_events } })
  // The queries below cover both gateways.
  await stack.startGateway(0)
  server = new Server({
    appId: stack.env.REALTIME_APP_ID, key: stack.key, secret: stack.secret,
    host: '127.0.0.1', port: String(stack.port), useTLS: false,
    encryptionMasterKeyBase64: randomBytes(32).toString('base64'),
  })
}, { timeout: 90_000 })
after(async () => { browsers.forEach(b => b.pusher.disconnect()); await stack?.stop() }, { timeout: 60_000 })

/** A client whose authorizations are all signed by the server library. */
async function connect(user, gateway = 0) {
  const data = { user_id: user, user_info: { name: user.toUpperCase() } }
  const sign = make => ({ customHandler: (params, done) => { done(null, make(params)) } })
  const pusher = new Pusher(stack.key, {
    wsHost: '127.0.0.1', wsPort: stack.gateways[gateway].port, forceTLS: false, enabledTransports: ['ws'], cluster: '',
    channelAuthorization: sign(({ socketId, channelName }) =>
      server.authorizeChannel(socketId, channelName, channelName.startsWith('presence-') ? data : undefined)),
    userAuthentication: sign(({ socketId }) => server.authenticateUser(socketId, { id: user, user_info: data.user_info })),
  })
  const browser = { pusher, events: [] }
  browsers.push(browser)
  await until(() => pusher.connection.state === 'connected', `${user} is connected`)
  browser.join = async name => {
    const channel = pusher.subscribe(name)
    let refused = null
    channel.bind('pusher:subscription_error', error => { refused = error })
    channel.bind_global((event, got) => { if (!event.startsWith('pusher')) browser.events.push({ name, event, data: got }) })
    await until(() => channel.subscribed || refused, `${user} is in ${name}`)
    assert.equal(refused, null)
    return channel
  }
  browser.gets = async event => {
    await until(() => browser.events.some(e => e.event === event), `${user} gets ${event}`)
    return browser.events.filter(e => e.event === event)
  }
  return browser
}

const json = async answer => { assert.equal(answer.status, 200); return answer.json() }

test('trigger() reaches several channels, except the excluded socket', { timeout: 60_000 }, async () => {
  const [ana, ben] = [await connect('ana'), await connect('ben', 1)]
  for (const one of [ana, ben]) { await one.join('private-orders'); await one.join('presence-room') }
  const to = ['private-orders', 'presence-room']
  await json(await server.trigger(to, 'created', { id: 7, name: 'Tây Đô ☕' }, { socket_id: ana.pusher.connection.socket_id }))
  await json(await server.trigger('private-orders', 'done', 'as text'))
  const created = await ben.gets('created')
  await until(() => ben.events.filter(e => e.event === 'created').length === 2, 'both channels')
  assert.deepEqual(created[0].data, { id: 7, name: 'Tây Đô ☕' })
  assert.deepEqual((await ben.gets('created')).map(e => e.name).sort(), [...to].sort())
  assert.equal((await ana.gets('done'))[0].data, 'as text')
  assert.deepEqual(ana.events.filter(e => e.event === 'created'), [])
})

test('triggerBatch() keeps the order of events', { timeout: 60_000 }, async () => {
  const cy = await connect('cy', 1)
  await cy.join('private-batch')
  await json(await server.triggerBatch(Array.from({ length: 10 }, (_, n) => ({ channel: 'private-batch', name: 'n', data: { n } }))))
  await until(() => cy.events.length === 10, 'all ten')
  assert.deepEqual(cy.events.map(e => e.data.n), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('pusher-js decrypts events encrypted by the server library', { timeout: 60_000 }, async () => {
  const dan = await connect('dan')
  await dan.join('private-encrypted-salary')
  await json(await server.trigger('private-encrypted-salary', 'raised', { by: 12 }))
  assert.deepEqual((await dan.gets('raised'))[0].data, { by: 12 })
})

test('channel and user queries cover all gateways', { timeout: 60_000 }, async () => {
  const [eve, fay] = [await connect('eve'), await connect('fay', 1)]
  await eve.join('presence-hall.1')
  await fay.join('presence-hall.1')
  await eve.join('private-hall.2')
  const ask = async (path, params) => json(await server.get({ path, params }))
  await until(async () => (await ask('/channels/presence-hall.1', { info: 'user_count' })).user_count === 2, 'both are counted')
  assert.deepEqual(await ask('/channels', { filter_by_prefix: 'presence-hall', info: 'user_count' }), { channels: { 'presence-hall.1': { user_count: 2 } } })
  assert.deepEqual(await ask('/channels/private-hall.2', { info: 'subscription_count' }), { occupied: true, subscription_count: 1 })
  assert.equal((await ask('/channels/private-empty')).occupied, false)
  const { users } = await ask('/channels/presence-hall.1/users')
  assert.deepEqual(users.map(u => u.id).sort(), ['eve', 'fay'])
})

test('trigger() and triggerBatch() return the attributes that info asks for', { timeout: 60_000 }, async () => {
  const [ida, jo] = [await connect('ida'), await connect('jo', 1)]
  for (const one of [ida, jo]) { await one.join('presence-info.1'); await one.join('private-info.2') }
  const info = 'user_count,subscription_count'
  const all = { channels: { 'presence-info.1': { user_count: 2, subscription_count: 2 }, 'private-info.2': { subscription_count: 2 } } }
  await until(async () => (await json(await server.trigger('presence-info.1', 'e', 1, { info }))).channels['presence-info.1'].user_count === 2, 'both')
  assert.deepEqual(await json(await server.trigger(['presence-info.1', 'private-info.2'], 'e', 1, { info })), all)
  assert.deepEqual(await json(await server.triggerBatch([
    { channel: 'presence-info.1', name: 'e', data: 1, info: 'user_count' },
    { channel: 'private-info.2', name: 'e', data: 1 },
    { channel: 'private-info.2', name: 'e', data: 1, info: 'subscription_count' },
  ])), { batch: [{ user_count: 2 }, {}, { subscription_count: 2 }] })
  assert.deepEqual(await json(await server.trigger('private-info.2', 'e', 1)), {})
})

test('a refused event is an error with the reason', { timeout: 60_000 }, async () => {
  await assert.rejects(server.trigger('private-orders', 'pusher:e', {}), error => error.status === 400 && /reserved/.test(error.body))
  await assert.rejects(server.trigger('private-orders', 'e', 'x'.repeat(20_000)), error => error.status === 413 && /10240/.test(error.body))
})

test('sendToUser() reaches every connection of a user, and terminateUserConnections() closes them', { timeout: 60_000 }, async () => {
  const windows = [await connect('gil'), await connect('gil', 1)]
  const other = await connect('hal')
  const delivered = []
  for (const one of [...windows, other]) {
    one.pusher.user.bind('mail', data => delivered.push([one, data]))
    one.pusher.signin()
    await until(() => one.pusher.user.user_data, 'signed in')
  }
  await json(await server.sendToUser('gil', 'mail', { from: 'bo' }))
  await until(() => delivered.length === 2, 'both windows')
  assert.deepEqual(new Set(delivered.map(([one]) => one)), new Set(windows))
  assert.deepEqual(delivered[0][1], { from: 'bo' })
  await json(await server.terminateUserConnections('gil'))
  for (const one of windows) await until(() => one.pusher.connection.state !== 'connected', 'disconnected')
  assert.equal(other.pusher.connection.state, 'connected')
})

test('webhook() of the server library accepts the webhooks', { timeout: 90_000 }, async () => {
  const events = []
  const receiver = createServer((request, response) => {
    let rawBody = ''
    request.on('data', part => { rawBody += part }).on('end', () => {
      const webhook = server.webhook({ headers: request.headers, rawBody })
      assert.equal(webhook.isValid(), true)
      assert.equal(server.webhook({ headers: request.headers, rawBody: `${rawBody} ` }).isValid(), false)
      assert.ok(Math.abs(webhook.getTime() - Date.now()) < 60_000)
      events.push(...webhook.getEvents())
      response.writeHead(200).end()
    })
  })
  await new Promise(resolve => receiver.listen(0, '127.0.0.1', resolve))
  stack.startWebhooks(`http://127.0.0.1:${receiver.address().port}/webhooks`)
  const [kim, lee] = [await connect('kim'), await connect('lee', 1)]
  // The first start begins with new events.
  await until(async () => { await kim.join('private-probe'); kim.pusher.unsubscribe('private-probe'); return events.length > 0 }, 'a webhook')
  const room = await kim.join('presence-hooks')
  await lee.join('presence-hooks')
  room.trigger('client-typing', { on: true })
  await kim.join('private-cache-hooks')
  const has = wanted => events.some(event => JSON.stringify(event) === JSON.stringify(wanted))
  const channel = 'presence-hooks'
  for (const wanted of [
    { name: 'channel_occupied', channel }, { name: 'member_added', channel, user_id: 'kim' },
    { name: 'member_added', channel, user_id: 'lee' }, { name: 'cache_miss', channel: 'private-cache-hooks' },
    { name: 'client_event', channel, event: 'client-typing', data: '{"on":true}', socket_id: kim.pusher.connection.socket_id, user_id: 'kim' },
  ]) await until(() => has(wanted), () => `${JSON.stringify(wanted)} is not among ${JSON.stringify(events)}`)
  receiver.close()
})

test('a wrong secret is refused with the reason', { timeout: 60_000 }, async () => {
  const thief = new Server({ appId: stack.env.REALTIME_APP_ID, key: stack.key, secret: 'guessed', host: '127.0.0.1', port: String(stack.port), useTLS: false })
  await assert.rejects(thief.trigger('private-orders', 'created', {}), error => error.status === 401 && /signature/i.test(error.body))
})
