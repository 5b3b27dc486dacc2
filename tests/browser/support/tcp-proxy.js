// A TCP proxy whose connections can be cut: for a server that only one of its clients cannot reach.

import { connect, createServer } from 'node:net'

export class TcpProxy {
  #connections = new Set()
  #state = 'open'
  /** The port on 127.0.0.1 that connections are forwarded to. */
  target = null

  static async start() {
    const proxy = new TcpProxy()
    proxy.server = createServer(client => proxy.#forward(client))
    await new Promise((resolve, reject) => proxy.server.on('error', reject).listen(0, '127.0.0.1', resolve))
    proxy.port = proxy.server.address().port
    return proxy
  }

  #forward(client) {
    const server = this.#state === 'cut' ? null : connect(this.target, '127.0.0.1')
    for (const socket of [client, server ?? client]) {
      this.#connections.add(socket)
      socket.on('error', () => {}).on('close', () => {
        this.#connections.delete(socket)
        client.destroy()
        server?.destroy()
      })
    }
    if (!server) return client.destroy()
    client.pipe(server).pipe(client)
    if (this.#state === 'silent') [client, server].forEach(socket => socket.pause())
  }

  /** Closes all connections, and new ones at once. */
  cut() {
    this.#state = 'cut'
    this.#connections.forEach(socket => socket.destroy())
  }

  /** Accepts connections, but transfers nothing. */
  silence() {
    this.#state = 'silent'
    this.#connections.forEach(socket => socket.pause())
  }

  restore() {
    this.#state = 'open'
    this.#connections.forEach(socket => socket.resume())
  }

  async stop() {
    this.cut()
    await new Promise(resolve => this.server.close(resolve))
  }
}
