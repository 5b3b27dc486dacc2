// Pusher's Java libraries, unmodified: the client of Android and the JVM, which announces protocol 5, and the server library.

import assert from 'node:assert/strict'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { ROOT } from './support/npm.js'
import { Process, within } from './support/process.js'
import { Stack } from './support/stack.js'

let stack
before(async () => {
  stack = await Stack.start({ settings: { activity_timeout_ms: 1000, pong_timeout_ms: 1000 } })
}, { timeout: 90_000 })
after(() => stack?.stop(), { timeout: 60_000 })

test('the Java client stays connected, and the server library gets the answers it expects', { timeout: 300_000 }, async () => {
  const application = [`127.0.0.1:${stack.port}`, stack.env.REALTIME_APP_ID, stack.key, stack.secret]
  const program = new Process('mvn', [
    '--quiet', '--batch-mode', '-f', path.join(ROOT, 'tests/browser/java/pom.xml'), 'compile', 'exec:java',
    `-Dexec.args=${application.join(' ')}`,
  ])
  // Maven downloads the libraries the first time.
  await within(280_000, () => `The program did not end:\n${program.output}`, program.ended)
  assert.deepEqual(program.result, { code: 0, signal: null }, program.output)
  assert.match(program.output, /complete/)
})
