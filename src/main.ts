#!/usr/bin/env node
import { setUpHeap } from './v8.ts'

/** The oldest version of Node that has what the broker's packages use. */
const NODE_MIN = 20

if (Number.parseInt(process.versions.node, 10) < NODE_MIN)
  refuse(`Roomcast needs Node ${NODE_MIN} or newer; this is ${process.versions.node}`)
setUpHeap()

try {
  await import('./uws.ts')
} catch (error) {
  if ((error as { code?: unknown }).code !== 'CONFIG_INVALID') throw error
  refuse((error as Error).message)
}
const { run } = await import('./cli/program.ts')
await run(process.argv)

function refuse(reason: string): never {
  console.error(`roomcast: ${reason}`)
  process.exit(1)
}
