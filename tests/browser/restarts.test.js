// A short run of tests/chaos/gateway.mjs: 20,000 messages through a gateway that is restarted four times.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { run } from '../chaos/gateway.mjs'

test('no message is lost, duplicated or reordered across gateway restarts', { timeout: 120_000 }, async t => {
  const { clients, seconds } = await run({ messages: 20_000, restarts: 4, clients: 3, rate: 2000 })
  for (const client of clients) {
    t.diagnostic(JSON.stringify(client))
    assert.deepEqual({ ...client, reconnects: 0, offline: 0 }, { received: 20_000, lost: 0, twice: 0, disordered: 0, unrecovered: 0, reconnects: 0, offline: 0 })
    assert.ok(client.reconnects >= 4, 'the client did not reconnect for each restart')
    assert.ok(client.offline < 2000, `offline for ${client.offline} ms`)
  }
  t.diagnostic(`${seconds.toFixed(1)} s`)
})
