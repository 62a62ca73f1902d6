#!/usr/bin/env node
import { setUpHeap } from './heap.ts'

setUpHeap()

const { run } = await import('./cli/program.ts')
await run(process.argv)
