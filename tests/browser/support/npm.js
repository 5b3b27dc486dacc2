// The npm packages of build/npm, where tools/npm.sh put them: outside the directories that imports are looked up in.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import path from 'node:path'

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..')

const require = createRequire(path.join(ROOT, 'build/npm/package.json'))

/** What `require(name)` gives: pusher-js for Node, puppeteer-core, ws. laravel-echo must be imported. */
export const npm = name => require(name)

/** A file of a package, such as `pusher-js/dist/web/pusher.min.js`. */
export const npmFile = file => path.join(ROOT, 'build/npm/node_modules', file)
