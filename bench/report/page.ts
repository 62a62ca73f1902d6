import { Latencies } from '../load/latency.ts'
import { PEER_NAMES } from '../peers/peers.ts'
import { barChart, escaped, type Line, lineChart } from './chart.ts'
import { comparedOf, FIGURE_NAMES, type FigureName, rowOf } from './figures.ts'
import type { Result, Run, Timeline } from './result.ts'
import { linear, logarithmic, percentiles } from './scale.ts'
import { STYLE } from './style.ts'
import { baseOf, type Summary, summaries } from './summary.ts'
import { titleOf } from './table.ts'
import { valueText } from './thresholds.ts'

/** Looked at on the way to the last; each nine is a decade of the axis. */
const PERCENTILE_STEPS = [
  0, 10, 25, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 96, 97, 98, 98.5, 99, 99.25, 99.5, 99.75, 99.9, 99.925, 99.95,
  99.975, 99.99, 99.999,
]
/** Above the last of them nothing is known with fewer samples behind it. */
const SAMPLES_BEHIND = 10

/** What is shown as bars, where a result has it. */
const BARS: readonly { readonly figure: FigureName; readonly unit: string; readonly per: number }[] = [
  { figure: 'cpuUs', unit: 'CPU per delivery, µs', per: 1 },
  { figure: 'cpuPerEventUs', unit: 'CPU per event, µs', per: 1 },
  { figure: 'eventsPerSecond', unit: 'events read a second, thousands', per: 1_000 },
  { figure: 'p99Ms', unit: 'latency p99, ms', per: 1 },
  { figure: 'connectionBytes', unit: 'memory per connection, KB', per: 1024 },
  { figure: 'peakBytes', unit: 'memory at its peak, MB', per: 2 ** 20 },
  { figure: 'handshakeUs', unit: 'handshake CPU per connection, µs', per: 1 },
  { figure: 'liveSeconds', unit: 'from listening until all have all events, s', per: 1 },
  { figure: 'idleUsPerSecond', unit: 'CPU per second and quiet connection, µs/s', per: 1 },
  { figure: 'frameBytes', unit: 'bytes of a frame', per: 1 },
]

/** One page with all results, that needs nothing else. */
export function page(results: readonly Result[]): string {
  const title = `Roomcast bench: ${results.map(({ scenario }) => scenario).join(', ')}`
  const contents =
    results.length < 2
      ? ''
      : `<nav>${results.map(({ scenario, started }, i) => `<a href="#r${i}">${escaped(scenario)} <small>${escaped(started.slice(0, 16).replace('T', ' '))}</small></a>`).join('')}</nav>`
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>${escaped(title)}</title><style>${STYLE}</style>
<main><h1>Roomcast bench</h1>${contents}${results.map(section).join('\n')}</main></html>
`
}

function section(result: Result, index: number): string {
  const { scenario, started, machine, settings, servers, failures, thresholds, runs } = result
  const all = summaries(runs)
  const cases = [...new Set(all.map((summary) => summary.case))]
  return `<section id="r${index}"><h2>${escaped(scenario)}</h2>
<p class="about">${escaped(started.slice(0, 19).replace('T', ' '))} UTC, commit ${escaped(machine.commit)}. ${escaped(machine.cpu)}, ${machine.cores} cores, ${machine.memory_gb} GB, ${escaped(machine.kernel)}, Node ${escaped(machine.node)}, nats-server ${escaped(machine.nats_server)}.<br>
${Object.entries(settings)
  .map(([name, value]) => `${escaped(name)} <b>${escaped(String(value))}</b>`)
  .join(' · ')}</p>
${thresholds.length === 0 ? '' : `<ul class="thresholds">${thresholds.map((threshold) => `<li class="${threshold.met ? 'met' : 'missed'}">${threshold.met ? '✓' : '✗'} ${escaped(threshold.about)}: <b>${valueText(threshold)}</b> (at most ${threshold.max})</li>`).join('')}</ul>`}
${failures.length === 0 ? '' : `<ul class="failures">${failures.map((failure) => `<li>Not measured: ${escaped(failure)}</li>`).join('')}</ul>`}
<div class="charts">${[...curves(all, cases), ...timelines(runs, cases)].join('')}</div>
<div class="charts">${bars(all, cases).join('')}</div>
${cases
  .map((name) =>
    figuresTable(
      name,
      all.filter((summary) => summary.case === name),
    ),
  )
  .join('')}
<details><summary>Servers and their settings</summary><dl>${Object.entries(servers)
    .map(([name, about]) => `<dt>${escaped(titleOf(name as Run['side']))}</dt><dd>${escaped(about)}</dd>`)
    .join('')}</dl></details></section>`
}

/** Latency by percentile: a chart for each case, with a line for each server; or one with a line for each case. */
function curves(all: readonly Summary[], cases: readonly string[]): string[] {
  const single = new Set(all.map(({ side }) => side)).size === 1
  const groups = single
    ? [{ name: '', of: all }]
    : cases.map((name) => ({ name, of: all.filter((summary) => summary.case === name) }))
  return groups.flatMap(({ name, of }) => {
    const measured = of.flatMap((summary, i) => {
      const latencies = latenciesOf(summary)
      return latencies === undefined
        ? []
        : [{ summary, latencies, colour: single ? i % PEER_NAMES.length : colourOf(summary) }]
    })
    if (measured.length === 0) return []
    const lastOf = (latencies: Latencies) => 100 * (1 - SAMPLES_BEHIND / Math.max(latencies.count, 2 * SAMPLES_BEHIND))
    const max = Math.max(...measured.map(({ latencies }) => lastOf(latencies)))
    const lines: Line[] = measured.map(({ summary, latencies, colour }) => ({
      name: single ? summary.case || titleOf(summary.side) : titleOf(summary.side),
      colour,
      points: [...PERCENTILE_STEPS.filter((step) => step < lastOf(latencies)), lastOf(latencies)].map(
        (step) => [step, latencies.ms(step)] as const,
      ),
    }))
    const values = lines.flatMap(({ points }) => points.map(([, ms]) => ms))
    const title = ['Latency', name].filter(Boolean).join(', ')
    return lineChart({
      title,
      xLabel: 'percentile, %',
      yLabel: 'latency, ms',
      x: percentiles(max),
      y: logarithmic(Math.min(...values), Math.max(...values)),
      lines,
    })
  })
}

function latenciesOf({ rounds }: Summary): Latencies | undefined {
  const texts = rounds.flatMap(({ latencies }) => latencies ?? [])
  if (texts.length === 0) return undefined
  const all = new Latencies()
  for (const text of texts) all.add(Latencies.decode(text))
  return all.count === 0 ? undefined : all
}

function bars(all: readonly Summary[], cases: readonly string[]): string[] {
  return BARS.flatMap(({ figure, unit, per }) => {
    const shown = all.flatMap((summary) => {
      const value = summary.figures[figure]
      return value === undefined ? [] : [{ summary, value }]
    })
    if (shown.length < 2) return []
    const x = linear(0, Math.max(...shown.map(({ value }) => value / per)))
    const single = new Set(shown.map(({ summary }) => summary.side)).size === 1
    const chart = shown.map(({ summary, value }) => ({
      name: single
        ? summary.case
        : [titleOf(summary.side), cases.length > 1 ? summary.case : ''].filter(Boolean).join(', '),
      colour: colourOf(summary),
      value: value / per,
      text: rowOf(figure).unit(value),
    }))
    const [title = unit] = unit.split(',')
    return barChart(`${title.charAt(0).toUpperCase()}${title.slice(1)}`, unit, x, chart)
  })
}

const TIMELINES: readonly {
  readonly of: 'backlog' | 'memoryMb' | 'deliveriesPerSecond' | 'ready' | 'cpu'
  readonly title: string
  readonly yLabel: string
}[] = [
  { of: 'backlog', title: 'Backlog', yLabel: 'deliveries due and not arrived' },
  { of: 'ready', title: 'Subscribed connections', yLabel: 'connections' },
  { of: 'deliveriesPerSecond', title: 'Deliveries', yLabel: 'deliveries a second' },
  { of: 'memoryMb', title: 'Memory of the server', yLabel: 'resident memory, MB' },
  { of: 'cpu', title: 'CPU of the server', yLabel: 'cores' },
]

/** What went on over time, in the first round of each case. */
function timelines(runs: readonly Run[], cases: readonly string[]): string[] {
  return cases.flatMap((name) => {
    const shown = runs.flatMap((run) =>
      run.case === name && run.round === 1 && run.timeline ? [{ run, timeline: run.timeline }] : [],
    )
    if (shown.length === 0) return []
    const marks = shown.find(({ run }) => run.side === 'roomcast')?.timeline.marks ?? []
    const changing = (of: (typeof TIMELINES)[number]['of']) =>
      of !== 'ready' || shown.some(({ timeline }) => new Set(timeline.ready).size > 1)
    return TIMELINES.filter(({ of }) => changing(of)).map(({ of, title, yLabel }) => {
      const lines = shown.map(({ run, timeline }) => ({
        name: titleOf(run.side),
        colour: colourOf(run),
        points: pointsOf(timeline, of),
      }))
      const values = lines.flatMap(({ points }) => points.map(([, value]) => value))
      return lineChart({
        title: [title, name].filter(Boolean).join(', '),
        xLabel: 'time, s',
        yLabel,
        x: linear(0, Math.max(1, ...shown.map(({ timeline }) => timeline.seconds.at(-1) ?? 0))),
        y: linear(0, Math.max(1, ...values)),
        lines,
        marks: marks.map(({ second, text }) => ({ x: second, text: shown.length > 1 ? `${text} (Roomcast)` : text })),
      })
    })
  })
}

function pointsOf(
  { seconds, ...series }: Timeline,
  of: (typeof TIMELINES)[number]['of'],
): (readonly [number, number])[] {
  return seconds.map((second, i) => [second, series[of][i] ?? 0] as const)
}

function figuresTable(name: string, all: readonly Summary[]): string {
  const base = baseOf(all)
  const present = FIGURE_NAMES.filter((figure) => all.some(({ figures }) => figures[figure] !== undefined))
  const cell = (figure: FigureName, { side, figures }: Summary) => {
    const value = figures[figure]
    if (value === undefined) return '<td>-</td>'
    const against = base?.figures[figure]
    const compared =
      side === base?.side || against === undefined || rowOf(figure).compared === undefined
        ? ''
        : ` <small>${escaped(rowOf(figure).compared === 'ratio' ? `${comparedOf(figure, against, value)}×` : comparedOf(figure, against, value))}</small>`
    return `<td>${escaped(rowOf(figure).unit(value))}${compared}</td>`
  }
  return `<div class="scroll"><table>${name === '' ? '' : `<caption>${escaped(name)}</caption>`}<thead><tr><th></th>${all.map(({ side }) => `<th>${escaped(titleOf(side))}</th>`).join('')}</tr></thead><tbody>${present
    .map(
      (figure) =>
        `<tr><th class="${'part' in rowOf(figure) ? 'part' : ''}">${escaped(rowOf(figure).about)}</th>${all.map((summary) => cell(figure, summary)).join('')}</tr>`,
    )
    .join('')}</tbody></table></div>`
}

/** A server has the same colour everywhere. */
function colourOf({ side }: { readonly side: Run['side'] }): number {
  return side === 'before' ? 0 : Math.max(0, PEER_NAMES.indexOf(side))
}
