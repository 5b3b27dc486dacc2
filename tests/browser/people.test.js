// Presence in several browsers, client events, toOthers() and signed-in users, in Chromium.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Browser, Client } from './support/browser.js'
import { Stack } from './support/stack.js'
import { until } from './support/process.js'

let stack, browser
before(async () => { [stack, browser] = await Promise.all([Stack.start(), Browser.launch()]) }, { timeout: 90_000 })
after(async () => { await browser?.close(); await stack?.stop() }, { timeout: 60_000 })

/** Joins a presence channel with Echo and records its events. */
async function join(user, channel) {
  const client = await Client.open(browser, stack, user, { kind: 'echo' })
  await client.run(c => {
    window.room = echo.join(c).here(all => record(c, 'here', all.map(m => m.name).sort())).joining(m => record(c, 'joining', m.name))
      .leaving(m => record(c, 'leaving', m.name)).listenForWhisper('typing', data => record(c, 'typing', data)).listen('.said', data => record(c, 'said', data))
  }, channel)
  client.members = () => client.run(c => pusher.channel('presence-' + c).members.count, channel)
  await client.waitFor(channel, 'here')
  return client
}

test('presence counts a user with two windows once, until both have left', { timeout: 60_000 }, async () => {
  const ana = await join('ana', 'room.1')
  assert.deepEqual(await ana.waitFor('room.1', 'here'), ['Ana'])
  const ben = await join('ben', 'room.1')
  assert.deepEqual(await ben.waitFor('room.1', 'here'), ['Ana', 'Ben'])
  assert.equal(await ana.waitFor('room.1', 'joining'), 'Ben')
  assert.deepEqual(await ana.run(() => pusher.channel('presence-room.1').members.me), { id: 'ana', info: { name: 'Ana' } })
  await ana.picture('presence-ana')
  await ben.picture('presence-ben')

  const again = await join('ben', 'room.1')
  assert.deepEqual(await again.waitFor('room.1', 'here'), ['Ana', 'Ben'])
  await ben.page.close()
  await stack.broadcast('presence-room.1', 'said', { by: 'the server' })
  assert.deepEqual(await again.waitFor('room.1', 'said'), { by: 'the server' })
  assert.deepEqual(await ana.waitFor('room.1', 'said'), { by: 'the server' })
  // Ben is still a member through his other window, until it leaves.
  assert.equal(await ana.members(), 2)
  await again.run(() => echo.leave('room.1'))
  assert.equal(await ana.waitFor('room.1', 'leaving'), 'Ben')
  assert.equal(await ana.members(), 1)
  const events = (await ana.received('room.1')).map(h => h.event)
  assert.deepEqual(events, ['here', 'joining', 'said', 'leaving'])
})

test('client events reach the other members with the user id of the sender, not the sender itself', { timeout: 60_000 }, async () => {
  const ana = await join('ana', 'room.2')
  const ben = await join('ben', 'room.2')
  await ben.run(() => pusher.channel('presence-room.2').bind('client-typing', (data, meta) => record('meta', 'typing', meta)))
  await ana.run(() => room.whisper('typing', { text: 'Xin chào', user_id: 'forged' }))
  assert.deepEqual(await ben.waitFor('room.2', 'typing'), { text: 'Xin chào', user_id: 'forged' })
  assert.deepEqual(await ben.waitFor('meta', 'typing'), { user_id: 'ana' })
  assert.deepEqual(await ana.received('room.2', 'typing'), [])

  // More than ten per second cause error 4301; the connection stays open.
  await ana.run(() => { for (let i = 0; i < 15; i++) room.whisper('typing', { i }) })
  const codes = async () => (await ana.received('', 'error')).map(h => h.data.data?.code ?? h.data.error?.data?.code)
  assert.ok((await until(async () => (await codes()).length && codes(), 'an error')).every(code => code === 4301))
  assert.equal(await ana.run(() => pusher.connection.state), 'connected')
})

test('toOthers() excludes the socket that made the request', { timeout: 60_000 }, async () => {
  const ana = await Client.open(browser, stack, 'ana')
  const ben = await Client.open(browser, stack, 'ben')
  await ana.subscribe('private-list.1')
  await ben.subscribe('private-list.1')
  await stack.broadcast('list.1', 'changed', { n: 1 }, { except: await ana.socketId() })
  await stack.broadcast('list.1', 'changed', { n: 2 })
  assert.deepEqual(await ben.waitFor('private-list.1', 'changed', 2), { n: 2 })
  await ana.waitFor('private-list.1', 'changed')
  assert.deepEqual((await ana.received('private-list.1', 'changed')).map(h => h.data), [{ n: 2 }])
  assert.deepEqual((await ben.received('private-list.1', 'changed')).map(h => h.data), [{ n: 1 }, { n: 2 }])
})

test('an event to a signed-in user reaches every window of this user, and no other user', { timeout: 60_000 }, async () => {
  const windows = []
  for (const user of ['ana', 'ana', 'ben']) {
    const client = await Client.open(browser, stack, user)
    await client.run(() => {
      pusher.user.bind('note', data => record('user', 'note', data))
      pusher.connection.bind('message', ({ event, channel }) => {
        if (event === 'pusher_internal:subscription_succeeded' && channel.startsWith('#server-to-user-')) record('user', 'ready', channel)
      })
      pusher.signin()
    })
    assert.equal(await client.waitFor('user', 'ready'), '#server-to-user-' + user)
    windows.push(client)
  }
  await stack.broadcast('#server-to-user-ana', 'note', { text: 'for Ana' })
  await stack.broadcast('#server-to-user-ben', 'note', { text: 'for Ben' })
  const texts = await Promise.all(windows.map(client => client.waitFor('user', 'note')))
  assert.deepEqual(texts.map(note => note.text), ['for Ana', 'for Ana', 'for Ben'])
  for (const client of windows) assert.equal((await client.received('user', 'note')).length, 1)
  await windows[0].picture('signed-in')
})
