#!/usr/bin/env node
import { keepYoungGenerationSmall } from './young-generation.ts'

keepYoungGenerationSmall()

const { run } = await import('./cli/program.ts')
await run(process.argv)
