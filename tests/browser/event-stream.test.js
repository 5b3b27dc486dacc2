// A plain EventSource, without any library, directly and through nginx.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Browser } from './support/browser.js'
import { Nginx } from './support/nginx.js'
import { until } from './support/process.js'
import { Stack } from './support/stack.js'

let stack, browser, nginx
before(async () => {
  [stack, browser] = await Promise.all([Stack.start({ settings: { public_channels: ['news.*'] } }), Browser.launch()])
  nginx = await Nginx.start([stack.port])
}, { timeout: 90_000 })
after(async () => { await browser?.close(); await nginx?.stop(); await stack?.stop() }, { timeout: 60_000 })

/** Opens a page whose EventSource collects its events in `received`. */
async function open(port, channels) {
  const page = await browser.window(`${stack.url}/`)
  await page.evaluate(async (gateway, channels) => {
    const ticket = await (await fetch(`${gateway}/sse/ticket`)).json()
    const query = new URLSearchParams({ ...ticket, channels: channels.join(',') })
    for (const channel of channels.filter(name => /^(private|presence)-/.test(name))) {
      const body = new URLSearchParams({ socket_id: ticket.socket_id, channel_name: channel })
      const { auth, channel_data } = await (await fetch('/broadcasting/auth?user=ana', { method: 'POST', body })).json()
      query.set(`auth[${channel}]`, auth)
      if (channel_data) query.set(`channel_data[${channel}]`, channel_data)
    }
    window.received = []
    window.opened = 0
    const events = new EventSource(`${gateway}/sse?${query}`)
    events.onopen = () => { window.opened++ }
    events.onmessage = ({ data }) => { window.received.push(JSON.parse(data)) }
  }, `http://127.0.0.1:${port}`, channels)
  return page
}

const events = (page, channel, name) => page.evaluate((c, n) => received.filter(e => e.channel === c && e.event === n), channel, name)
const waitFor = (page, channel, name, count = 1) =>
  until(async () => (await events(page, channel, name)).length >= count, `${count} × ${name} on ${channel}`, 30_000)

for (const [way, port] of [['directly', () => stack.port], ['through nginx', () => nginx.port]]) {
  test(`an EventSource misses nothing across gateway restarts, ${way}`, { timeout: 120_000 }, async () => {
    const channels = ['news.1', 'private-ticker.1', 'presence-ticker.1']
    const page = await open(port(), channels)
    for (const channel of channels) await waitFor(page, channel, 'pusher_internal:subscription_succeeded')
    await stack.broadcast('news.1', 'created', { id: 7 })
    await waitFor(page, 'news.1', 'created')
    assert.equal((await events(page, 'news.1', 'created'))[0].data, '{"id":7}')
    const sending = stack.broadcastMany('ticker.1', 'tick', 1, 1200, 5000)
    for (let restart = 1; restart <= 2; restart++) {
      await waitFor(page, 'private-ticker.1', 'tick', restart * 100)
      await stack.restartGateway()
      for (const channel of channels) await waitFor(page, channel, 'realtime:recovered', restart)
    }
    await sending
    for (const channel of ['private-ticker.1', 'presence-ticker.1']) {
      await until(async () => new Set((await events(page, channel, 'tick')).map(e => e.data)).size === 1200, `every tick on ${channel}`, 30_000)
      for (const { data } of await events(page, channel, 'realtime:recovered')) assert.deepEqual(data, { recovered: true })
    }
    assert.ok(await page.evaluate('window.opened') >= 3)
    assert.deepEqual(page.problems, [])
    await page.close()
  })
}
