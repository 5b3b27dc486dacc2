// A program that a test starts: what it prints can be waited for, and it always ends.

import { spawn } from 'node:child_process'

const running = new Set()
process.on('exit', () => { for (const child of running) signalAll(child, 'SIGKILL') })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

/** To a program and what it has started: PHP's web server leaves its workers behind. */
function signalAll(child, signal) {
  try {
    process.kill(-child.pid, signal)
  } catch {
    // They have ended.
  }
}

/** Rejects when it takes longer than `ms`; says what did. */
export function within(ms, what, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${typeof what === 'function' ? what() : what}: not within ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Looks again and again until `condition` gives something true, which it returns. */
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

  /** The match of a regular expression in what it has printed. */
  async prints(pattern, ms = 20_000) {
    return until(() => {
      const match = pattern.exec(this.output)
      if (!match && this.result) throw new Error(`${this.name} ended with ${JSON.stringify(this.result)}:\n${this.output}`)
      return match
    }, () => `${this.name} did not print ${pattern}, but:\n${this.output}\n`, ms)
  }

  /** Asks it to end, and waits; one that does not is killed, and that is an error. */
  async stop(signal = 'SIGTERM', ms = 15_000) {
    this.child.kill(signal)
    try {
      return await within(ms, `${this.name} did not end after ${signal}; it printed:\n${this.output}\n`, this.ended)
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
