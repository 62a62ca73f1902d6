import type { Scale } from './scale.ts'

/** Charts as SVG. Colours are the page's `--c0` to `--c5`, so they follow light and dark. */

export interface Line {
  readonly name: string
  /** Which of the page's colours. */
  readonly colour: number
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface LineChart {
  readonly title: string
  /** With their units. */
  readonly xLabel: string
  readonly yLabel: string
  readonly x: Scale
  readonly y: Scale
  readonly lines: readonly Line[]
  /** Moments, as vertical lines. */
  readonly marks?: readonly { readonly x: number; readonly text: string }[]
}

const WIDTH = 560
const HEIGHT = 300
const LEFT = 62
const RIGHT = 16
const TOP = 16
const BOTTOM = 46
const INNER_WIDTH = WIDTH - LEFT - RIGHT
const INNER_HEIGHT = HEIGHT - TOP - BOTTOM
/** Between texts of marks that would lie on each other. */
const MARK_LINE = 13

export function lineChart({ title, xLabel, yLabel, x, y, lines, marks = [] }: LineChart): string {
  const px = (value: number) => round(LEFT + x.at(value) * INNER_WIDTH)
  const py = (value: number) => round(TOP + (1 - y.at(value)) * INNER_HEIGHT)
  const bottom = TOP + INNER_HEIGHT
  const body = [
    ...y.ticks.map(
      ({ value, text }) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${py(value)}" y2="${py(value)}"/><text class="tick" x="${LEFT - 7}" y="${py(value) + 4}" text-anchor="end">${text}</text>`,
    ),
    ...x.ticks.map(
      ({ value, text }) =>
        `<line class="grid" x1="${px(value)}" x2="${px(value)}" y1="${TOP}" y2="${bottom}"/><text class="tick" x="${px(value)}" y="${bottom + 16}" text-anchor="middle">${text}</text>`,
    ),
    ...marks.map(({ x: at, text }, i) => {
      const left = x.at(at) > 0.75
      return `<line class="mark" x1="${px(at)}" x2="${px(at)}" y1="${TOP}" y2="${bottom}"/><text class="marked" x="${px(at) + (left ? -4 : 4)}" y="${TOP + 11 + (i % 4) * MARK_LINE}" text-anchor="${left ? 'end' : 'start'}">${escaped(text)}</text>`
    }),
    ...lines.map(
      ({ name, colour, points }) =>
        `<polyline class="line" style="stroke:var(--c${colour})" points="${points.map(([a, b]) => `${px(a)},${py(b)}`).join(' ')}"><title>${escaped(name)}</title></polyline>`,
    ),
  ]
  return figure(title, `${axes(xLabel, yLabel)}${body.join('')}`, legend(lines), HEIGHT)
}

export interface Bar {
  readonly name: string
  readonly colour: number
  readonly value: number
  /** With its unit. */
  readonly text: string
}

const BAR_HEIGHT = 22
const BAR_GAP = 6
const BAR_LEFT = 190
const BAR_TEXT = 84

/** One bar for each, from the left. @param unit of the axis */
export function barChart(title: string, unit: string, x: Scale, bars: readonly Bar[]): string {
  const height = TOP + bars.length * (BAR_HEIGHT + BAR_GAP) + BOTTOM
  const bottom = height - BOTTOM
  const width = WIDTH - BAR_LEFT - BAR_TEXT
  const px = (value: number) => round(BAR_LEFT + Math.max(0, x.at(value)) * width)
  const body = [
    ...x.ticks.map(
      ({ value, text }) =>
        `<line class="grid" x1="${px(value)}" x2="${px(value)}" y1="${TOP}" y2="${bottom}"/><text class="tick" x="${px(value)}" y="${bottom + 16}" text-anchor="middle">${text}</text>`,
    ),
    ...bars.map(({ name, colour, value, text }, i) => {
      const y = TOP + i * (BAR_HEIGHT + BAR_GAP)
      const end = Math.max(px(value), px(0) + 1)
      return `<text class="name" x="${BAR_LEFT - 8}" y="${y + 15}" text-anchor="end">${escaped(name)}</text><rect x="${px(0)}" y="${y}" width="${round(end - px(0))}" height="${BAR_HEIGHT}" rx="2" style="fill:var(--c${colour})"/><text class="value" x="${end + 6}" y="${y + 15}">${escaped(text)}</text>`
    }),
    `<text class="label" x="${BAR_LEFT + width / 2}" y="${height - 8}" text-anchor="middle">${escaped(unit)}</text>`,
  ]
  return figure(title, body.join(''), '', height)
}

function axes(xLabel: string, yLabel: string): string {
  const middle = TOP + INNER_HEIGHT / 2
  return `<text class="label" x="${LEFT + INNER_WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escaped(xLabel)}</text><text class="label" transform="translate(14 ${middle}) rotate(-90)" text-anchor="middle">${escaped(yLabel)}</text>`
}

function legend(lines: readonly Line[]): string {
  return `<p class="legend">${lines.map(({ name, colour }) => `<span><i style="background:var(--c${colour})"></i>${escaped(name)}</span>`).join('')}</p>`
}

function figure(title: string, body: string, below: string, height: number): string {
  return `<figure><figcaption>${escaped(title)}</figcaption><svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(title)}">${body}</svg>${below}</figure>`
}

export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`)
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
