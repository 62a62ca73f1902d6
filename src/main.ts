#!/usr/bin/env node
import { setUpHeap } from './v8.ts'

setUpHeap()

const { run } = await import('./cli/program.ts')
await run(process.argv)
