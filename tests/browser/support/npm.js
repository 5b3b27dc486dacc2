// Loads the npm packages that tools/npm.sh installs in build/npm, which is outside of Node's module lookup path.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import path from 'node:path'

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..')

const require = createRequire(path.join(ROOT, 'build/npm/package.json'))

/** The same as `require(name)`: pusher-js for Node, puppeteer-core, ws. laravel-echo must be imported. */
export const npm = name => require(name)

/** The path of a file of a package, such as `pusher-js/dist/web/pusher.min.js`. */
export const npmFile = file => path.join(ROOT, 'build/npm/node_modules', file)
