// npm run simulate: installs what is missing, and runs the hub under seeded schedules; arguments go to it.
import { spawn } from 'node:child_process'
import { ensurePackages, root } from './setup.mjs'

ensurePackages()
const simulation = spawn(process.execPath, ['--import=tsx', 'test/simulation/main.ts', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
process.on('SIGTERM', () => simulation.kill('SIGTERM'))
simulation.on('exit', (code) => process.exit(code ?? 1))
