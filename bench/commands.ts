import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { number } from './run/options.ts'
import { RESULTS } from './run/session.ts'
import { compared, changes } from './report/compare.ts'
import { page } from './report/page.ts'
import type { Result } from './report/result.ts'
import { report } from './report/table.ts'

export function addReport(program: Command): void {
  program
    .command('report')
    .description('one HTML page of results, and their tables here')
    .argument('[files...]', `results; default: the newest of each scenario in ${RESULTS}`)
    .option('--out <file>', 'the page', join(RESULTS, 'report.html'))
    .action((files: string[], { out }: { out: string }, command: Command) => {
      const chosen = files.length > 0 ? files : newestOfEach()
      if (chosen.length === 0) command.error(`error: there are no results in ${RESULTS} yet`)
      const results = chosen.map(read)
      for (const result of results) console.log(`${report(result)}\n`)
      mkdirSync(dirname(out), { recursive: true })
      writeFileSync(out, page(results))
      console.log(`written to ${out}`)
    })
}

export function addCompare(program: Command): void {
  program
    .command('compare')
    .description(
      'sets two results of one scenario side by side; exit code 1 where a figure of Roomcast is past the threshold, or more events were lost',
    )
    .argument('<before>', 'a file of bench/results')
    .argument('<after>', 'another one')
    .addOption(number('--threshold <times>', 'how many times worse a figure may be', 1.1, 0.01))
    .action((before: string, after: string, { threshold }: { threshold: number }, command: Command) => {
      const [a, b] = [read(before), read(after)]
      if (a.scenario !== b.scenario) command.error(`error: ${before} is of ${a.scenario}, ${after} of ${b.scenario}`)
      const all = changes(a, b, threshold)
      if (all.length === 0) command.error('error: the two have no server and case in common')
      console.log(compared(a, b, threshold))
      if (all.some(({ past }) => past)) process.exit(1)
    })
}

function read(file: string): Result {
  const result = JSON.parse(readFileSync(file, 'utf8')) as Result
  if (!Array.isArray(result.runs)) throw new Error(`${file} is no result of this bench`)
  // A figure that could not be measured is NaN, which JSON writes as null.
  const runs = result.runs.map((run) => ({
    ...run,
    figures: Object.fromEntries(Object.entries(run.figures).filter(([, value]) => typeof value === 'number')),
  }))
  return { ...result, runs }
}

function newestOfEach(): string[] {
  const files = readdirSync(RESULTS)
    .filter((file) => file.endsWith('.json'))
    .sort()
  const newest = new Map<string, string>()
  // File names end with the time, so the last one is the newest.
  for (const file of files) newest.set(file.replace(/-\d{4}-\d\d-\d\dT.*$/, ''), join(RESULTS, file))
  return [...newest.values()]
}
