// npm start: installs what is missing, builds, and runs the broker; arguments go to `roomcast serve`.
import { join } from 'node:path'
import { build, ensurePackages, root } from './setup.mjs'

ensurePackages()
build()
process.argv = [process.argv[0], join(root, 'dist', 'main.js'), 'serve', ...process.argv.slice(2)]
await import('../dist/main.js')
