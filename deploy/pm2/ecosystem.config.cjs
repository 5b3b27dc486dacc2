// PM2: workers of one group, two gateways and, with REALTIME_WEBHOOK_URLS, the sender of webhooks.
// `pm2 start ecosystem.config.cjs && pm2 save`; `pm2 startup` starts PM2 at boot.

// The credentials come from the environment in which PM2 is started (REALTIME_APP_ID, REALTIME_APP_KEY, REALTIME_APP_SECRET).
const environment = {
  KAFKA_BROKERS: process.env.KAFKA_BROKERS || 'localhost:9092',
}

const common = {
  cwd: process.env.REALTIME_APP_DIRECTORY || '/srv/app',
  // PHP is started directly, without Node.js as interpreter, so that it receives the signals.
  script: process.env.PHP || '/usr/bin/php',
  interpreter: 'none',
  exec_mode: 'fork',
  // Restart also after exit code 0, which --max-time, --max-memory and realtime:restart cause …
  autorestart: true,
  // … but not after 2: wrong usage or an invalid configuration.
  stop_exit_codes: [2],
  // Restart delay: 100 ms, growing up to 15 s while the process fails immediately.
  exp_backoff_restart_delay: 100,
  min_uptime: 3000,
  watch: false,
  time: true,
}

// PHP options before the command, for example ['-d', 'extension=…'].
const php = (process.env.REALTIME_PHP_OPTIONS || '').split(' ').filter(Boolean)
const program = process.env.REALTIME_CONSOLE || 'vendor/bin/toporia-realtime'      // in Laravel: artisan

const worker = number => ({
  ...common,
  name: `realtime-consume-${number}`,
  args: [...php, program, 'realtime:kafka:consume', '--channels=order.*,user.*', '--group=mailer', '--handler=App\\OrderHandler',
    '--max-memory=256M', '--max-time=86400', `--metrics=127.0.0.1:910${number}`],
  env: environment,
  // PM2 stops a process with SIGINT, which shuts a worker down cleanly, like SIGTERM; after this time it sends SIGKILL.
  // In ms: longest callback + 20 s.
  kill_timeout: 60_000,
})

// Restart the gateways one after the other: pm2 restart realtime-gateway-6001 && pm2 restart realtime-gateway-6002
const gateway = port => ({
  ...common,
  name: `realtime-gateway-${port}`,
  args: [...php, program, 'realtime:gateway', '--host=127.0.0.1', `--port=${port}`, '--drain=5000'],
  env: { ...environment, REALTIME_OPS_LISTEN: `127.0.0.1:1${port}`, REALTIME_TRUSTED_PROXIES: '127.0.0.1' },
  kill_timeout: 20_000,
})

const webhooks = {
  ...common,
  name: 'realtime-webhooks',
  args: [...php, program, 'realtime:webhooks:send', '--max-memory=256M', '--max-time=86400'],
  env: { ...environment, REALTIME_WEBHOOK_URLS: process.env.REALTIME_WEBHOOK_URLS },
  kill_timeout: 30_000,
}

module.exports = {
  // At most one worker per partition of the topic: further workers would be idle.
  apps: [worker(1), worker(2), gateway(6001), gateway(6002), ...(process.env.REALTIME_WEBHOOK_URLS ? [webhooks] : [])],
}
