// Runs a child process of a test: waits for its output, and makes sure that it exits.

import { spawn } from 'node:child_process'

const running = new Set()
process.on('exit', () => { for (const child of running) signalAll(child, 'SIGKILL') })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

/** Signals a process and its children: PHP's web server does not stop its workers. */
function signalAll(child, signal) {
  try {
    process.kill(-child.pid, signal)
  } catch {
    // The processes have exited.
  }
}

/** Rejects if the promise takes longer than `ms`; the error says `what` timed out. */
export function within(ms, what, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${typeof what === 'function' ? what() : what}: not within ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Polls `condition` until it returns a truthy value, and returns this value. */
export async function until(condition, what, ms = 10_000) {
  const end = Date.now() + ms
  for (;;) {
    const found = await condition()
    if (found) return found
    if (Date.now() > end) throw new Error(`${typeof what === 'function' ? what() : what}: not within ${ms} ms`)
    await sleep(10)
  }
}

export class Process {
  output = ''

  constructor(command, args, { cwd, env } = {}) {
    this.name = [command, ...args].join(' ')
    this.child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    running.add(this.child)
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', text => { this.output += text })
    }
    this.ended = new Promise(resolve => this.child.on('exit', (code, signal) => {
      running.delete(this.child)
      signalAll(this.child, 'SIGKILL')
      resolve(this.result = { code, signal })
    }))
  }

  /** Waits until the output matches a regular expression, and returns the match. */
  async prints(pattern, ms = 20_000) {
    return until(() => {
      const match = pattern.exec(this.output)
      if (!match && this.result) throw new Error(`${this.name} exited with ${JSON.stringify(this.result)}:\n${this.output}`)
      return match
    }, () => `${this.name} did not print ${pattern}, but:\n${this.output}\n`, ms)
  }

  /** Sends a signal and waits for the exit; after `ms`, kills the process and throws. */
  async stop(signal = 'SIGTERM', ms = 15_000) {
    this.child.kill(signal)
    try {
      return await within(ms, `${this.name} did not exit after ${signal}; its output:\n${this.output}\n`, this.ended)
    } catch (error) {
      signalAll(this.child, 'SIGKILL')
      throw error
    }
  }

  async kill() {
    signalAll(this.child, 'SIGKILL')
    await this.ended
  }
}
