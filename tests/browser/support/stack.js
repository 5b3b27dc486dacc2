// The servers of a browser test: Kafka, a PHP application that authorizes and broadcasts, and restartable gateways.

import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { Process, sleep } from './process.js'
import { ROOT } from './npm.js'

const APP = path.join(ROOT, 'tests/browser/app')
const PHP = process.env.PHP || 'php'
const EXTENSION = process.env.REALTIME_EXTENSION || path.join(ROOT, 'target/release/libtoporia_realtime.so')
// If the extension is installed already, loading it again would print a warning for each PHP process.
const php = process.env.REALTIME_LOADED ? [] : ['-d', `extension=${EXTENSION}`]

export class Stack {
  #processes = []
  gateways = []

  /** Uses the embedded broker, unless REALTIME_TEST_BROKERS is set. gatewayEnv: for the first gateway only. */
  static async start({ settings = {}, gatewayEnv = {} } = {}) {
    const stack = new Stack()
    try {
      await stack.#start(settings, gatewayEnv)
    } catch (error) {
      await stack.stop()
      throw error
    }
    return stack
  }

  async #start(settings, gatewayEnv) {
    this.key = randomBytes(10).toString('hex')
    this.secret = randomBytes(32).toString('hex')
    this.env = {
      KAFKA_TOPIC_PREFIX: 'browser' + randomBytes(4).toString('hex'),
      REALTIME_APP_ID: 'tests',
      REALTIME_APP_KEY: this.key,
      REALTIME_APP_SECRET: this.secret,
      REALTIME_OPS_LISTEN: 'off',
      TEST_MASTER_KEY: randomBytes(32).toString('base64'),
      TEST_SETTINGS: JSON.stringify(settings),
      // Concurrent requests, as with any real web server.
      PHP_CLI_SERVER_WORKERS: '3',
    }
    this.env.KAFKA_BROKERS = process.env.REALTIME_TEST_BROKERS || 'embedded'
    if (this.env.KAFKA_BROKERS === 'embedded') {
      const broker = this.#run([...php, path.join(ROOT, 'console'), 'realtime:kafka:dev', '--port=0'])
      this.env.KAFKA_BROKERS = (await broker.prints(/listens on ([0-9.]+:\d+)/))[1]
    }
    const web = this.web = this.#run([...php, '-S', '127.0.0.1:0', 'web.php'])
    this.url = (await web.prints(/http:\/\/[0-9.]+:\d+/))[0]
    this.env.REALTIME_ALLOWED_ORIGINS = this.url
    await this.startGateway(0, gatewayEnv)
  }

  #run(args, env = {}) {
    const started = new Process(PHP, args, { cwd: APP, env: { ...this.env, ...env } })
    this.#processes.push(started)
    return started
  }

  /** Starts another gateway; by default it shares the port of the first one. */
  async startGateway(port = this.port ?? 0, env = {}) {
    const gateway = this.#run([...php, path.join(ROOT, 'console'), 'realtime:gateway', `--port=${port}`], env)
    gateway.port = Number((await gateway.prints(/listens on [0-9.]+:(\d+)/))[1])
    this.port ??= gateway.port
    this.gateways.push(gateway)
    return gateway
  }

  /** Starts a worker that handles `channels` and also runs a gateway. */
  async startWorker(channels) {
    const command = ['realtime:kafka:consume', `--channels=${channels}`, '--group=browser', '--from=end', '--websocket=127.0.0.1:0']
    const worker = this.#run([...php, path.join(ROOT, 'console'), ...command])
    worker.port = Number((await worker.prints(/listens on [0-9.]+:(\d+)/))[1])
    await worker.prints(/assigned/, 30_000)
    return worker
  }

  /** Starts a process that posts webhooks to `url`. */
  startWebhooks(url) {
    return this.#run([...php, path.join(ROOT, 'console'), 'realtime:webhooks:send', `--url=${url}`])
  }

  /** Restarts as in a deployment: the successor listens on the same port before the first gateway stops. */
  async restartGateway() {
    const before = this.gateways.shift()
    const port = before.port
    const successor = await this.startGateway(port)
    await before.stop()
    return successor
  }

  /** Kills the gateway by SIGKILL once another one listens on its port. */
  async replaceKilledGateway() {
    const before = this.gateways.shift()
    await this.startGateway(before.port)
    await before.kill()
  }

  /** Kills the gateway by SIGKILL and starts another one on its port, as a supervisor does after a crash. */
  async killAndStartGateway() {
    const before = this.gateways.shift()
    await before.kill()
    await this.startGateway(before.port)
  }

  /** Calls Realtime::broadcast(), as a PHP controller does. */
  async broadcast(channel, event, data = null, more = {}) {
    return (await this.post('/broadcast', { channel, event, data, ...more })).id
  }

  /** Broadcasts data {n: from}, {n: from + 1}, … from one PHP process, with `pause` µs after each `burst` of them. */
  async broadcastMany(channel, event, from, count, pause, burst = 1) {
    return this.post('/many', { channel, event, from, count, pause, burst }, 60_000 + count * pause / burst / 1000 * 2)
  }

  async post(where, body, ms = 30_000) {
    const answer = await fetch(this.url + where, {
      method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, signal: AbortSignal.timeout(Math.round(ms)),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${where} answered ${answer.status}: ${text}\n${this.web.output.slice(-2000)}`)
    return JSON.parse(text)
  }

  async stop() {
    for (const started of this.#processes.reverse()) {
      started.child.kill('SIGTERM')
      await Promise.race([started.ended, sleep(5000)])
      if (!started.result) await started.kill()
    }
  }
}
