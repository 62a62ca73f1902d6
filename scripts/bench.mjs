// npm run bench -- <scenario>: installs what is missing, builds, and runs a scenario of bench/; arguments go to it.
import { spawn } from 'node:child_process'
import { build, ensureNatsServer, ensurePackages, root } from './setup.mjs'

ensurePackages()
ensureNatsServer()
build()
const bench = spawn(process.execPath, ['dist/bench/main.js', ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' })
// Ctrl-C reaches both; the bench cleans up and says how it ended. A signal meant for this process alone is passed on.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => bench.kill('SIGTERM'))
bench.on('exit', (code) => process.exit(code ?? 1))
