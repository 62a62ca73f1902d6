// npm run chaos -- <schedule>: installs what is missing, builds, and runs a schedule of test/chaos/; arguments go to
// it.
import { spawn } from 'node:child_process'
import { build, ensureNatsServer, ensurePackages, root } from './setup.mjs'

ensurePackages()
if (!process.argv.includes('--help') && !process.argv.includes('-h')) {
  ensureNatsServer()
  build()
}
const chaos = spawn(process.execPath, ['--import=tsx', 'test/chaos/main.ts', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
// Ctrl-C reaches both; chaos ends what it started. A signal meant for this process alone is passed on.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => chaos.kill('SIGTERM'))
chaos.on('exit', (code) => process.exit(code ?? 1))
