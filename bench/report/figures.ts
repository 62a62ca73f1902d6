/**
 * Every figure that a run may have: what it is called, its unit, how sides compare. Tables, the page and `compare` are
 * made from it.
 */

type Unit = (value: number) => string

const us: Unit = (value) => `${value.toFixed(2)} µs`
const ms: Unit = (value) => `${value.toFixed(1)} ms`
const seconds: Unit = (value) => `${value.toFixed(2)} s`
const kb: Unit = (bytes) => `${(bytes / 1024).toFixed(2)} KB`
const mb: Unit = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`
const kbPerMinute: Unit = (bytes) => `${(bytes / 1024).toFixed(1)} KB/min`
const msPerMinute: Unit = (value) => `${value.toFixed(3)} ms/min`
const filesPerMinute: Unit = (value) => `${value.toFixed(2)}/min`
const count: Unit = (value) => Math.round(value).toLocaleString('en')
const perSecond: Unit = (value) => `${count(value)}/s`
const percent: Unit = (part) => `${Math.round(part * 100)} %`
const bytes: Unit = (value) => value.toFixed(1)

export interface FigureRow {
  readonly about: string
  /** Shown below the one before. */
  readonly part?: true
  readonly unit: Unit
  /** How other sides are compared with the raw one. */
  readonly compared?: 'ratio' | 'difference'
  /** How rounds are combined. Default: the median. */
  readonly over?: 'sum' | 'max'
  /** Whether less or more is better. `compare` ignores figures without it. */
  readonly better?: 'less' | 'more'
}

const row = (about: string, unit: Unit, rest: Omit<FigureRow, 'about' | 'unit'> = {}): FigureRow => ({
  about,
  unit,
  ...rest,
})

export const FIGURES = {
  cpuUs: row('CPU per delivery', us, { compared: 'ratio', better: 'less' }),
  cpuUserUs: row('user space', us, { part: true }),
  cpuSystemUs: row('system', us, { part: true }),
  cpuPerEventUs: row('CPU per event', us, { compared: 'ratio', better: 'less' }),
  eventsPerSecond: row('events a second', perSecond, { compared: 'ratio', better: 'more' }),
  p50Ms: row('latency p50', ms, { compared: 'ratio', better: 'less' }),
  p90Ms: row('p90', ms, { part: true }),
  p99Ms: row('p99', ms, { part: true, compared: 'ratio', better: 'less' }),
  p999Ms: row('p99.9', ms, { part: true }),
  maxMs: row('max', ms, { part: true, over: 'max' }),
  p99OfNoneSlow: row('p99, to that without slow ones', (value) => value.toFixed(3), { better: 'less' }),
  connectSeconds: row('all connected after', seconds, { compared: 'ratio', better: 'less' }),
  connectsPerSecond: row('connects', perSecond, { part: true, better: 'more' }),
  handshakeUs: row('handshake CPU per connection', us, { compared: 'ratio', better: 'less' }),
  handshakeUserUs: row('user space', us, { part: true }),
  downSeconds: row('killed until it listens again', seconds),
  readySeconds: row('until all have subscribed', seconds, { compared: 'ratio', better: 'less' }),
  liveSeconds: row('until all have all events', seconds, { compared: 'ratio', better: 'less' }),
  comeBackUs: row('CPU per connection that came back', us, { compared: 'ratio', better: 'less' }),
  idleUsPerSecond: row('CPU per second and quiet connection', us, { compared: 'ratio', better: 'less' }),
  emptyUsPerSecond: row('CPU per second without any', us, { part: true }),
  connectionBytes: row('memory per connection', kb, { compared: 'difference', better: 'less' }),
  connectionHeapBytes: row('live JavaScript objects', kb, { part: true, compared: 'difference' }),
  connectionYoungBytes: row("V8's space for new ones", kb, { part: true, compared: 'difference' }),
  emptyBytes: row('memory of the empty process', mb),
  peakBytes: row('memory at its peak', mb, { better: 'less', over: 'max' }),
  memoryPerMinute: row('memory slope', kbPerMinute, { better: 'less' }),
  heapBytes: row('live JavaScript objects altogether', mb),
  heapPerMinute: row('their slope', kbPerMinute, { part: true, better: 'less' }),
  files: row('open files', count),
  filesPerMinute: row('their slope', filesPerMinute, { part: true, better: 'less' }),
  delayMs: row('event-loop delay p99', ms),
  delayPerMinute: row('its slope', msPerMinute, { part: true, better: 'less' }),
  fallen: row('times a slow client left live delivery', count, { over: 'sum' }),
  heldBack: row('events that a slow one had yet to get when released', count),
  releaseSeconds: row('slow ones released until they have all', seconds),
  slowMissing: row('missing at slow ones', count, { over: 'sum' }),
  slowCut: row('slow ones cut', count, { over: 'sum' }),
  clientBusy: row('load client, of its core', percent),
  othersBusy: row('other programs, of a core', percent),
  frameBytes: row('bytes of a frame', bytes),
  lateMsMax: row('publisher late by at most', ms, { over: 'max' }),
  deliveries: row('deliveries', count, { over: 'sum' }),
  missing: row('missing', count, { part: true, over: 'sum' }),
  twice: row('twice', count, { part: true, over: 'sum' }),
  disordered: row('out of order', count, { part: true, over: 'sum' }),
  cut: row('connections cut', count, { over: 'sum' }),
} as const satisfies Record<string, FigureRow>

export type FigureName = keyof typeof FIGURES

export const FIGURE_NAMES = Object.keys(FIGURES) as FigureName[]

export function rowOf(name: FigureName): FigureRow {
  return FIGURES[name]
}

/** What a comparison of two sides shows: a ratio, or a difference in the figure's unit. */
export function comparedOf(name: FigureName, raw: number, other: number): string {
  const { compared, unit } = rowOf(name)
  if (compared === 'ratio') return (other / raw).toFixed(3)
  const difference = other - raw
  return `${difference < 0 ? '-' : '+'}${unit(Math.abs(difference))}`
}
