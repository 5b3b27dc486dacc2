// Public, private and encrypted channels, and refused subscriptions and connections, in Chromium.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Browser, Client } from './support/browser.js'
import { Stack } from './support/stack.js'
import { sleep } from './support/process.js'

const DATA = { id: 7, price: 1.5, dish: 'Phở bò', note: '"quoted" \u2028 <b>', list: [1, null, true], none: null }
let stack, browser
before(async () => { [stack, browser] = await Promise.all([Stack.start(), Browser.launch()]) }, { timeout: 90_000 })
after(async () => { await browser?.close(); await stack?.stop() }, { timeout: 60_000 })

test('public and private channels deliver events in pusher-js', { timeout: 60_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana')
  await client.subscribe('public.news', 'private-orders.1')

  await stack.broadcast('public.news', 'published', DATA)
  assert.deepEqual(await client.waitFor('public.news', 'published'), DATA)
  await stack.broadcast('orders.1', 'order.created', DATA)
  assert.deepEqual(await client.waitFor('private-orders.1', 'order.created'), DATA)

  // Each type of data is preserved: pusher-js decodes one level of JSON.
  const kinds = [null, 0, -1.25, '', '123', 'text', 'null', '{"a":1}', true, [], [[]], 'ữ "\\ 😀']
  for (const data of kinds) await stack.broadcast('orders.1', 'kind', { data })
  for (const data of kinds) await stack.broadcast('orders.1', 'bare', data)
  await client.waitFor('private-orders.1', 'bare', kinds.length)
  assert.deepEqual((await client.received('private-orders.1', 'kind')).map(h => h.data.data), kinds)
  assert.deepEqual((await client.received('private-orders.1', 'bare')).map(h => h.data), kinds)
  // Events of the private channel were not delivered on the public channel.
  assert.deepEqual((await client.received('public.news')).map(h => h.event), ['pusher:subscription_succeeded', 'published'])
  await client.picture('channels-pusher-js')
  assert.deepEqual(client.page.problems, [])
})

test('public and private channels deliver events in laravel-echo, with a leading dot', { timeout: 60_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana', { kind: 'echo' })
  await client.run(() => {
    for (const channel of [echo.channel('public.news'), echo.private('orders.2')]) {
      channel.subscribed(() => record(channel.name, 'subscribed')).error(error => record(channel.name, 'error', error))
        .listen('.order.created', data => record(channel.name, 'order.created', data)).listenToAll((event, data) => record(channel.name, 'all ' + event, data))
    }
  })
  await client.waitFor('public.news', 'subscribed')
  await client.waitFor('private-orders.2', 'subscribed')
  await stack.broadcast('orders.2', 'order.created', DATA)
  await stack.broadcast('public.news', 'order.created', { id: 8 })
  assert.deepEqual(await client.waitFor('private-orders.2', 'order.created'), DATA)
  assert.deepEqual(await client.waitFor('public.news', 'order.created'), { id: 8 })
  assert.deepEqual(await client.waitFor('private-orders.2', 'all .order.created'), DATA)

  // After leave(), no more events are delivered.
  await client.run(() => echo.leave('orders.2'))
  await stack.broadcast('orders.2', 'order.created', { id: 9 })
  await stack.broadcast('public.news', 'order.created', { id: 10 })
  await client.waitFor('public.news', 'order.created', 2)
  assert.equal((await client.received('private-orders.2', 'order.created')).length, 1)
  await client.picture('channels-laravel-echo')
})

test('encrypted channels carry ciphertext, which the browser decrypts', { timeout: 60_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana', { encryption: true })
  await client.run(() => pusher.connection.bind('message', ({ event, data }) => { if (event === 'diagnosis') window.raw = data }))
  await client.subscribe('private-encrypted-patient.1')
  await stack.broadcast('private-encrypted-patient.1', 'diagnosis', DATA)
  assert.deepEqual(await client.waitFor('private-encrypted-patient.1', 'diagnosis'), DATA)
  assert.deepEqual(Object.keys(await client.run(() => raw)).sort(), ['ciphertext', 'nonce'])
  await client.picture('channels-encrypted')

  const echo = await Client.open(browser, stack, 'eve', { kind: 'echo', encryption: true })
  await echo.run(() => echo.encryptedPrivate('patient.1').subscribed(() => record('e', 'subscribed')).listen('.diagnosis', data => record('e', 'diagnosis', data)))
  await echo.waitFor('e', 'subscribed')
  await stack.broadcast('private-encrypted-patient.1', 'diagnosis', { second: true })
  assert.deepEqual(await echo.waitFor('e', 'diagnosis'), { second: true })
})

test('subscriptions refused by application, signature or channel name leave the connection open', { timeout: 60_000 }, async () => {
  const client = await Client.open(browser, stack, 'ana')
  await client.run(() => ['private-forbidden', 'private-forged', 'orders.1', 'presence-forged', 'private-fine'].forEach(subscribe))
  await client.waitFor('private-fine', 'pusher:subscription_succeeded')

  assert.equal((await client.waitFor('private-forbidden', 'pusher:subscription_error')).status, 403)
  for (const channel of ['private-forged', 'presence-forged']) {
    const { type, status, error } = await client.waitFor(channel, 'pusher:subscription_error')
    assert.deepEqual([type, status, typeof error], ['AuthError', 401, 'string'])
  }
  // Plain names are not public here; the error names the setting that makes them public.
  const plain = await client.waitFor('orders.1', 'pusher:subscription_error')
  assert.equal(plain.status, 403)
  assert.match(plain.error, /public_channels/)
  assert.equal(await client.run(() => pusher.connection.state), 'connected')
  await client.picture('refusals')

  const echo = await Client.open(browser, stack, 'ana', { kind: 'echo' })
  await echo.run(() => echo.private('forged').error(error => record('e', 'error', error)))
  assert.equal((await echo.waitFor('e', 'error')).status, 401)
})

test('a wrong app key is reported, and the client does not reconnect', { timeout: 60_000 }, async () => {
  const page = await browser.window(`${stack.url}/?user=ana`)
  await page.waitForFunction('window.ready')
  await page.evaluate(o => start(o), { kind: 'pusher', port: stack.port, key: 'wrong' })
  await page.waitForFunction("pusher.connection.state === 'disconnected'")
  const errors = await page.evaluate(() => received.filter(h => h.event === 'error').map(h => h.data))
  assert.ok(errors.some(error => error.error?.data?.code === 4001 || error.data?.code === 4001), JSON.stringify(errors))
  // Long enough for a reconnect, which pusher-js begins after at most a second.
  await sleep(1500)
  assert.equal(await page.evaluate(() => received.filter(h => h.event === 'connecting').length), 0)
})

test('a page of another origin is refused, and the client does not reconnect', { timeout: 60_000 }, async () => {
  // The same page under a host name that is not an allowed origin.
  const page = await browser.window(`${stack.url.replace('127.0.0.1', 'localhost')}/?user=ana`)
  await page.waitForFunction('window.ready')
  await page.evaluate(o => start(o), { kind: 'pusher', port: stack.port, key: stack.key })
  await page.waitForFunction("pusher.connection.state === 'disconnected'")
  assert.equal(await page.evaluate(() => received.filter(h => h.event === 'connected').length), 0)
})
