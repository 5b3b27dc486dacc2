// Two gateways behind nginx, restarted one after the other: laravel-echo is offline for less than 2 s and misses nothing.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Browser, Client } from './support/browser.js'
import { Nginx } from './support/nginx.js'
import { Stack } from './support/stack.js'
import { sleep } from './support/process.js'

let stack, browser, nginx
before(async () => {
  [stack, browser] = await Promise.all([Stack.start({ settings: { trusted_proxies: ['127.0.0.1'] } }), Browser.launch()])
  await stack.startGateway(0)
  nginx = await Nginx.start(stack.gateways.map(gateway => gateway.port))
}, { timeout: 90_000 })
after(async () => { await browser?.close(); await nginx?.stop(); await stack?.stop() }, { timeout: 60_000 })

test('gateways restarted one after the other: Echo is offline for less than 2 s', { timeout: 120_000 }, async t => {
  const clients = []
  for (const user of ['ana', 'ben', 'chi']) {
    const client = await Client.open(browser, stack, user, { kind: 'echo', port: nginx.port, recovery: true })
    await client.subscribe('private-ticker.1', 'presence-room.1')
    clients.push(client)
  }
  const [ana] = clients
  assert.equal(await ana.run(() => pusher.channel('presence-room.1').members.count), 3)

  let restarts = 0
  const sending = stack.broadcastMany('ticker.1', 'tick', 1, 1600, 5000)
  for (const gateway of stack.gateways.splice(0)) {
    await ana.waitFor('private-ticker.1', 'tick', ++restarts * 100)
    // No process listens on this port for a while, on purpose; the other gateway accepts the clients.
    await gateway.stop()
    await sleep(700)
    await stack.startGateway(gateway.port)
  }
  await sending
  for (const [i, client] of clients.entries()) {
    assert.deepEqual(await client.numbered('private-ticker.1', 'tick', 1600), { lost: [], twice: [], disordered: [] })
    const states = (await client.received('')).filter(h => h.event === 'connecting' || h.event === 'connected' || h.event === 'unavailable')
    const gaps = states.flatMap((h, n) => h.event === 'connected' && n > 0 ? [Math.round(h.at - states[n - 1].at)] : [])
    t.diagnostic(`client ${i + 1}: offline for ${gaps.join(', ')} ms`)
    assert.ok(gaps.length >= 1 && gaps.every(gap => gap < 2000), `offline for ${gaps} ms`)
    assert.ok((await client.received('private-ticker.1', 'recovered')).every(h => h.data === true))
  }
  await ana.picture('behind-nginx')
})
