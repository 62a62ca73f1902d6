import { spawn } from 'node:child_process'

const ENTRY = new URL('../../dist/main.js', import.meta.url).pathname

/** Starts the built program in a folder that is its home too, with no other environment than what is given. */
export function startProgram(folder: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, [ENTRY, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    said.out += chunk
  })
  child.stderr.on('data', (chunk: Buffer) => {
    said.err += chunk
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, said, ended }
}

/** Runs it to its end. */
export async function runProgram(folder: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { said, ended } = startProgram(folder, args, env)
  const code = await ended
  return { code, ...said }
}
