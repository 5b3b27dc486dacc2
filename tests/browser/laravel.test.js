// Sets up examples/laravel with the commands of its README, and checks the notifications in Chromium.

import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { Browser, picture } from './support/browser.js'
import { npmFile, ROOT } from './support/npm.js'
import { Process, sleep } from './support/process.js'

const extension = process.env.REALTIME_EXTENSION || path.join(ROOT, 'target/release/libtoporia_realtime.so')
const php = [
  ...(process.env.REALTIME_LOADED ? [] : ['-d', `extension=${extension}`]),
  // Debian's Laravel 8.83 was written for PHP 8.1: ignore its own deprecations.
  '-d', 'error_reporting=24575',
]
const directory = path.join(mkdtempSync(path.join(tmpdir(), 'realtime-laravel-')), 'app')
const running = []
let browser, url

/** Starts PHP in the application; its variables come from .env, as in production. */
function start(...args) {
  const env = { KAFKA_BROKERS: undefined }
  const started = new Process(process.env.PHP || 'php', [...php, ...args], { cwd: directory, env })
  running.push(started)
  return started
}

async function artisan(...args) {
  const command = start('artisan', ...args)
  await command.ended
  assert.equal(command.result.code, 0, `${args[0]}:\n${command.output}`)
  return command.output
}

/** Sets a variable in .env. */
function env(name, value) {
  const file = path.join(directory, '.env')
  const text = readFileSync(file, 'utf8').replace(new RegExp(`^${name}=.*\n`, 'm'), '')
  writeFileSync(file, `${text}${name}=${value}\n`)
}

before(async () => {
  const create = 'require $argv[1]; Toporia\\Realtime\\Tests\\Support\\LaravelApplication::create($argv[2]);'
  const made = new Process(process.env.PHP || 'php', ['-r', create, path.join(ROOT, 'php/autoload.php'), directory])
  await made.ended
  assert.equal(made.result.code, 0, made.output)

  // The README's commands, in the same order.
  copyFileSync(path.join(directory, '.env.example'), path.join(directory, '.env'))
  await artisan('key:generate')
  await artisan('realtime:install')
  writeFileSync(path.join(directory, 'database/database.sqlite'), '')
  await artisan('migrate')
  mkdirSync(path.join(directory, 'public/js'))
  for (const file of ['pusher-js/dist/web/pusher.min.js', 'laravel-echo/dist/echo.js']) {
    copyFileSync(npmFile(file), path.join(directory, 'public/js', path.basename(file)))
  }

  let kafka = process.env.REALTIME_TEST_BROKERS || 'embedded'
  if (kafka === 'embedded') {
    kafka = (await start('artisan', 'realtime:kafka:dev', '--port=0').prints(/listens on ([0-9.]+:\d+)/))[1]
  }
  // Unlike the README: free ports, and a topic prefix for this test.
  env('KAFKA_BROKERS', kafka)
  env('KAFKA_TOPIC_PREFIX', 'laravel' + Date.now())
  env('REALTIME_OPS_LISTEN', 'off')
  const gateway = start('artisan', 'realtime:gateway', '--port=0')
  env('REALTIME_GATEWAY_PORT', (await gateway.prints(/listens on [0-9.]+:(\d+)/))[1])
  start('artisan', 'queue:work', '--sleep=0.1')
  const handler = '--handler=App\\Realtime\\TakePayment'
  await start('artisan', 'realtime:kafka:consume', '--channels=private-user.*', handler).prints(/waiting for|assigned/)
  const web = start('-S', '127.0.0.1:0', '-t', 'public')
  url = (await web.prints(/http:\/\/[0-9.]+:\d+/))[0]
  browser = await Browser.launch()
}, { timeout: 120_000 })

after(async () => {
  await browser?.close()
  for (const started of running.reverse()) {
    started.child.kill('SIGTERM')
    await Promise.race([started.ended, sleep(8000)])
    if (!started.result) await started.kill()
  }
  rmSync(path.dirname(directory), { recursive: true })
}, { timeout: 120_000 })

/** Opens the shop in a separate window, and waits until both channels are subscribed. */
async function shop(user) {
  const page = await browser.window(`${url}/login/${user}`)
  await page.waitForFunction(
    "window.Echo?.connector?.pusher?.allChannels().length === 2 && window.Echo.connector.pusher.allChannels().every(c => c.subscribed)",
  )
  page.news = () => page.$$eval('#news li', items => items.map(item => item.textContent))
  page.waitForNews = text => page.waitForFunction(t => document.querySelector('#news').textContent.includes(t), {}, text)
  return page
}

test('order events reach the customer, and the sale reaches every browser', { timeout: 90_000 }, async () => {
  const [an, binh] = [await shop(1), await shop(2)]
  await an.click('#order')
  await an.waitForNews('Order 1 is placed')
  await an.waitForNews('Order 1 is paid')
  await an.waitForNews('New sale')
  await binh.waitForNews('New sale')
  await picture(an, 'laravel-an')
  assert.deepEqual((await an.news()).sort(), ['New sale', 'Order 1 is paid', 'Order 1 is placed'])
  assert.deepEqual(await binh.news(), ['New sale'], 'private events are not sent to other users')
  assert.deepEqual([...an.problems, ...binh.problems], [])
})

test("another user's private channel is refused", { timeout: 30_000 }, async () => {
  const binh = await shop(2)
  const error = await binh.evaluate(() => new Promise(resolve => {
    window.Echo.private('user.1').error(resolve)
  }))
  assert.equal(error.status, 403)
})

test('an event published from the command line reaches a public channel', { timeout: 60_000 }, async () => {
  const page = await shop(2)
  await page.evaluate(() => window.Echo.channel('public.news').listen('.posted', news => say(news.title)).subscribed(() => say('listening')))
  await page.waitForNews('listening')
  await artisan('realtime:kafka:publish', 'public.news', 'posted', '{"title":"Xin chào"}')
  await page.waitForNews('Xin chào')
})
