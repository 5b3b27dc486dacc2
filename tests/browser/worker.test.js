// Callbacks and sockets in one process: a slow handler delays no browser, and a fatal error closes sockets cleanly.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Browser, Client } from './support/browser.js'
import { Stack } from './support/stack.js'
import { within } from './support/process.js'

let stack, browser
before(async () => { [stack, browser] = await Promise.all([Stack.start(), Browser.launch()]) }, { timeout: 90_000 })
after(async () => { await browser?.close(); await stack?.stop() }, { timeout: 60_000 })

test('a slow handler does not delay sockets, and a fatal error closes them cleanly', { timeout: 90_000 }, async t => {
  // Creates the topic, so that the worker does not have to wait for it.
  await stack.broadcast('slow.0', 'first', { n: 0 })
  const worker = await stack.startWorker('slow.*')
  const client = await Client.open(browser, stack, 'ana', { port: worker.port, recovery: true })
  await client.subscribe('private-slow.1')

  const started = Date.now()
  for (const n of [1, 2]) await stack.broadcast('slow.1', 'slow.tick', { n })
  assert.deepEqual(await client.waitFor('private-slow.1', 'slow.tick', 2), { n: 2 })
  const took = Date.now() - started
  t.diagnostic(`two events reached the browser ${took} ms after the first broadcast; the handler takes 3000 ms for each`)
  assert.ok(took < 2000, `${took} ms`)
  await worker.prints(/handled 2/)

  // The connection is closed cleanly although the process exits with an error.
  await stack.broadcast('slow.1', 'slow.fatal', { n: 3 })
  const { code } = await within(30_000, 'the end of the worker', worker.ended)
  assert.notEqual(code, 0)
  assert.match(worker.output, /Fatal error raised by the handler/)
  assert.ok((await client.received('private-slow.1', 'slow.fatal')).length === 1)
  await client.waitFor('', 'connecting')
})
