// nginx as a reverse proxy for two gateways, configured as in a deployment.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Process, until } from './process.js'

const freePort = () => new Promise((resolve, reject) => {
  const server = createServer().on('error', reject).listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

export class Nginx {
  /** Starts nginx as a proxy for gateways on these ports. */
  static async start(ports) {
    const nginx = new Nginx()
    nginx.directory = mkdtempSync(path.join(tmpdir(), 'realtime-nginx-'))
    nginx.port = await freePort()
    const file = path.join(nginx.directory, 'nginx.conf')
    writeFileSync(file, configuration(nginx.directory, nginx.port, ports))
    nginx.process = new Process(existsSync('/usr/sbin/nginx') ? '/usr/sbin/nginx' : 'nginx', ['-p', nginx.directory, '-c', file, '-e', 'stderr'])
    await until(() => {
      if (nginx.process.result) throw new Error(`nginx exited: ${nginx.process.output}`)
      return fetch(`http://127.0.0.1:${nginx.port}/up`).then(r => r.ok, () => false)
    }, () => `nginx did not respond: ${nginx.process.output}`)
    return nginx
  }

  async stop() {
    await this.process.stop('SIGQUIT').catch(() => {})
    rmSync(this.directory, { recursive: true, force: true })
  }
}

function configuration(directory, port, ports) {
  return `
${process.getuid() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${directory}/pid;
events { worker_connections 1024; }
http {
  access_log off;
  error_log stderr warn;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(what => `${what}_temp_path ${directory}/${what};`).join(' ')}
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  upstream gateways {
    # A gateway that is being restarted refuses the connection; nginx then connects to the other one without delay.
    ${ports.map(p => `server 127.0.0.1:${p} max_fails=0;`).join('\n    ')}
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_connect_timeout 2s;
      proxy_read_timeout 75s;
      proxy_next_upstream error timeout;
    }
  }
}
`
}
