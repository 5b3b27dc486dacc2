// Short runs of tests/chaos/gateway.mjs: gateways that are restarted and killed, on every kind of channel.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { run } from '../chaos/gateway.mjs'

for (const [failure, offline] of [['roll', 2000], ['cold', 20_000]]) {
  test(`no message is lost, duplicated or reordered on any channel: ${failure}`, { timeout: 180_000 }, async t => {
    const { channels, clients, seconds } = await run({ failure, messages: 3000, times: failure === 'roll' ? 3 : 1, clients: 2 })
    for (const row of channels) {
      assert.deepEqual(row, { channel: row.channel, failure, sent: 6000, lost: 0, twice: 0, disordered: 0, unrecovered: 0 })
    }
    for (const client of clients) {
      t.diagnostic(JSON.stringify(client))
      assert.ok(client.reconnects >= 1, 'the client did not reconnect')
      assert.ok(client.offline < offline, `offline for ${client.offline} ms`)
      assert.deepEqual([client.removed, client.members], [0, 2])
    }
    t.diagnostic(`${seconds.toFixed(1)} s`)
  })
}
