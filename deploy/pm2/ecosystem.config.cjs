// PM2: workers of one group and two gateways. `pm2 start ecosystem.config.cjs && pm2 save`; `pm2 startup` starts it with the machine.

// The secret comes from the environment of whoever starts PM2 (REALTIME_APP_ID, REALTIME_APP_KEY, REALTIME_APP_SECRET).
const environment = {
  KAFKA_BROKERS: process.env.KAFKA_BROKERS || 'localhost:9092',
}

const common = {
  cwd: process.env.REALTIME_APP_DIRECTORY || '/srv/app',
  // Not a program of Node: PHP is started as it is, so the signals reach it.
  script: process.env.PHP || '/usr/bin/php',
  interpreter: 'none',
  exec_mode: 'fork',
  // Also after exit code 0, with which --max-time, --max-memory and realtime:restart end a process …
  autorestart: true,
  // … but not after 2: wrong usage, or a configuration that is refused.
  stop_exit_codes: [2],
  // 100 ms, and longer each time up to 15 s while it fails at once.
  exp_backoff_restart_delay: 100,
  min_uptime: 3000,
  watch: false,
  time: true,
}

// Before the command where it is needed: ['-d', 'extension=…'].
const php = (process.env.REALTIME_PHP_OPTIONS || '').split(' ').filter(Boolean)
const program = process.env.REALTIME_CONSOLE || 'vendor/bin/toporia-realtime'      // in Laravel: artisan

const worker = number => ({
  ...common,
  name: `realtime-consume-${number}`,
  args: [...php, program, 'realtime:kafka:consume', '--channels=order.*,user.*', '--group=mailer', '--handler=App\\OrderHandler',
    '--max-memory=256M', '--max-time=86400', `--metrics=127.0.0.1:910${number}`],
  env: environment,
  // PM2 stops with SIGINT, which ends a worker in order as SIGTERM does. Longest callback + 20 s, in ms; then SIGKILL.
  kill_timeout: 60_000,
})

// Restart one after the other: pm2 restart realtime-gateway-6001 && pm2 restart realtime-gateway-6002
const gateway = port => ({
  ...common,
  name: `realtime-gateway-${port}`,
  args: [...php, program, 'realtime:gateway', '--host=127.0.0.1', `--port=${port}`, '--drain=5000'],
  env: { ...environment, REALTIME_OPS_LISTEN: `127.0.0.1:1${port}`, REALTIME_TRUSTED_PROXIES: '127.0.0.1' },
  kill_timeout: 20_000,
})

module.exports = {
  // Not more workers than the topic has partitions: one above that has nothing to do.
  apps: [worker(1), worker(2), gateway(6001), gateway(6002)],
}
