// npm run fuzz -- <surface>: installs what is missing, builds, and reaches a broker with odd input; arguments go to it.
import { spawn } from 'node:child_process'
import { build, ensureNatsServer, ensurePackages, root } from './setup.mjs'

ensurePackages()
if (!process.argv.includes('--help') && !process.argv.includes('-h')) {
  ensureNatsServer()
  build()
}
const fuzz = spawn(process.execPath, ['--import=tsx', 'test/fuzz/main.ts', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
// Ctrl-C reaches both; it ends its broker and says how far it came.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => fuzz.kill('SIGTERM'))
fuzz.on('exit', (code) => process.exit(code ?? 1))
