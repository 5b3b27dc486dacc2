// A gateway is restarted while events are sent to connected browsers: none is lost, duplicated or reordered.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Browser, Client } from './support/browser.js'
import { Stack } from './support/stack.js'

let stack, browser
before(async () => { [stack, browser] = await Promise.all([Stack.start(), Browser.launch()]) }, { timeout: 90_000 })
after(async () => { await browser?.close(); await stack?.stop() }, { timeout: 60_000 })

const RIGHT = { lost: [], twice: [], disordered: [] }
const upTo = n => Array.from({ length: n }, (_, i) => i + 1)

/** The longest time the client was not connected, in ms. */
async function offline(client) {
  const states = (await client.received('')).filter(h => ['connecting', 'connected', 'unavailable'].includes(h.event))
  let longest = 0
  let since = null
  for (const { event, at } of states.slice(1)) {
    if (event !== 'connected') since ??= at
    else if (since !== null) { longest = Math.max(longest, at - since); since = null }
  }
  return Math.round(longest)
}

for (const kind of ['pusher', 'echo']) {
  test(`three gateway restarts lose no event in ${kind}`, { timeout: 120_000 }, async t => {
    const channel = `private-ticker.${kind}`
    const client = await Client.open(browser, stack, 'ana', { kind, recovery: true })
    await client.subscribe(channel, `presence-room.${kind}`)
    const sending = stack.broadcastMany(`ticker.${kind}`, 'tick', 1, 1500, 4000)
    for (let i = 1; i <= 3; i++) {
      await client.waitFor(channel, 'tick', i * 50)
      await stack.restartGateway()
      assert.equal(await client.waitFor(channel, 'recovered', i), true)
      await client.waitFor(`presence-room.${kind}`, 'pusher:subscription_succeeded', i + 1)
    }
    await sending
    assert.deepEqual(await client.numbered(channel, 'tick', 1500), RIGHT)
    const longest = await offline(client)
    t.diagnostic(`offline for ${longest} ms at most`)
    assert.ok(longest < 2000, `offline for ${longest} ms`)
    await client.picture(`recovery-${kind}`)
  })
}

test('events missed during a deliberate disconnect are replayed in order on thirty channels', { timeout: 90_000 }, async () => {
  const channels = upTo(30).map(i => `many.${i}`)
  const client = await Client.open(browser, stack, 'ana', { recovery: true })
  await client.subscribe(...channels.map(c => 'private-' + c))
  for (const c of channels) await stack.broadcast(c, 'tick', { n: 1 })
  for (const c of channels) await client.waitFor('private-' + c, 'tick')
  await client.run(() => pusher.disconnect())
  for (const c of channels.slice(0, 20)) await stack.broadcastMany(c, 'tick', 2, 5, 0)
  await client.run(() => pusher.connect())
  for (const c of channels) assert.equal(await client.waitFor('private-' + c, 'recovered'), true, c)
  for (const [i, c] of channels.entries()) {
    assert.deepEqual((await client.received('private-' + c, 'tick')).map(h => h.data.n), upTo(i < 20 ? 6 : 1), c)
  }
})

test('events excluded by toOthers() are not replayed, and encrypted events are', { timeout: 60_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana', { recovery: true, encryption: true })
  const witness = await Client.open(browser, stack, 'ben', { encryption: true })
  for (const one of [client, witness]) await one.subscribe('private-list.1', 'private-encrypted-list.2')
  await stack.broadcast('list.1', 'changed', { n: 1 })
  await client.waitFor('private-list.1', 'changed')
  const socket = await client.socketId()
  await client.run(() => pusher.disconnect())
  await stack.broadcast('list.1', 'changed', { n: 2 }, { except: socket })
  await stack.broadcast('list.1', 'changed', { n: 3 })
  await stack.broadcast('private-encrypted-list.2', 'changed', { n: 4 })
  // The gateway has read all of them once the witness has received the last ones.
  await witness.waitFor('private-list.1', 'changed', 3)
  await witness.waitFor('private-encrypted-list.2', 'changed')
  await client.run(() => pusher.connect())
  assert.equal(await client.waitFor('private-list.1', 'recovered'), true)
  assert.equal(await client.waitFor('private-encrypted-list.2', 'recovered'), true)
  assert.deepEqual((await client.received('private-list.1', 'changed')).map(h => h.data.n), [1, 3])
  assert.deepEqual((await client.received('private-encrypted-list.2', 'changed')).map(h => h.data.n), [4])
})

test('after a gateway is killed, clients recover through its successor without loss', { timeout: 90_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana', { recovery: true })
  await client.subscribe('private-killed.1')
  const sending = stack.broadcastMany('killed.1', 'tick', 1, 600, 5000)
  await client.waitFor('private-killed.1', 'tick', 50)
  await stack.replaceKilledGateway()
  assert.equal(await client.waitFor('private-killed.1', 'recovered', 1, 20_000), true)
  await sending
  assert.deepEqual(await client.numbered('private-killed.1', 'tick', 600), RIGHT)
})

test('a modified token or the token of another channel recovers nothing and reports it', { timeout: 60_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana', { recovery: true })
  const witness = await Client.open(browser, stack, 'ben')
  for (const one of [client, witness]) await one.subscribe('private-a.1', 'private-b.1', 'private-c.1')
  for (const channel of ['a.1', 'b.1', 'c.1']) await stack.broadcast(channel, 'tick', { n: 1 })
  for (const channel of ['private-a.1', 'private-b.1', 'private-c.1']) await client.waitFor(channel, 'tick')
  await client.run(() => {
    const { connection } = pusher
    const send = connection.send_event
    connection.send_event = function (event, data, channel) {
      const tokens = event === 'realtime:resume' && { ...data, 'private-a.1': data['private-b.1'], 'private-c.1': data['private-c.1'].slice(0, -3) + 'AAA' }
      return send.call(this, event, tokens || data, channel)
    }
    pusher.disconnect()
  })
  for (const channel of ['a.1', 'b.1', 'c.1']) await stack.broadcast(channel, 'tick', { n: 2 })
  // The second tick has been delivered before the client reconnects.
  for (const channel of ['private-a.1', 'private-b.1', 'private-c.1']) await witness.waitFor(channel, 'tick', 2)
  await client.run(() => pusher.connect())
  assert.equal(await client.waitFor('private-a.1', 'recovered'), false)
  assert.equal(await client.waitFor('private-b.1', 'recovered'), true)
  assert.equal(await client.waitFor('private-c.1', 'recovered'), false)
  for (const channel of ['a.1', 'b.1', 'c.1']) await stack.broadcast(channel, 'tick', { n: 3 })
  await client.waitFor('private-b.1', 'tick', 3)
  await client.waitFor('private-a.1', 'tick', 2)
  await client.waitFor('private-c.1', 'tick', 2)
  assert.deepEqual((await client.received('private-a.1', 'tick')).map(h => h.data.n), [1, 3])
  assert.deepEqual((await client.received('private-b.1', 'tick')).map(h => h.data.n), [1, 2, 3])
  assert.deepEqual((await client.received('private-c.1', 'tick')).map(h => h.data.n), [1, 3])
})

test('without the plugin a client reconnects, and receives only later events', { timeout: 60_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana')
  await client.subscribe('private-plain.1')
  await stack.restartGateway()
  await client.waitFor('private-plain.1', 'pusher:subscription_succeeded', 2)
  await stack.broadcast('plain.1', 'tick', { n: 1 })
  assert.deepEqual(await client.waitFor('private-plain.1', 'tick'), { n: 1 })
  assert.deepEqual(await client.received('private-plain.1', 'realtime:recovered'), [])
})
