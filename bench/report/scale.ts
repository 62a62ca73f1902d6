/** Where values lie on an axis, and where it is marked. */
export interface Scale {
  /** 0: the axis' beginning, 1: its end. */
  at(value: number): number
  readonly ticks: readonly { readonly value: number; readonly text: string }[]
}

const TICKS = 5

export function linear(from: number, to: number): Scale {
  const step = stepOf((to - from) / TICKS)
  const first = Math.floor(from / step) * step
  const last = Math.max(first + step, Math.ceil(to / step) * step)
  const ticks = Array.from({ length: Math.round((last - first) / step) + 1 }, (_, i) => first + i * step)
  return {
    at: (value) => (value - first) / (last - first),
    ticks: ticks.map((value) => ({ value, text: short(value) })),
  }
}

/** 1, 2 or 5 times a power of ten. */
function stepOf(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough || 1))
  return power * ([1, 2, 5, 10].find((times) => times * power >= rough) ?? 10)
}

export function logarithmic(from: number, to: number): Scale {
  const first = Math.floor(Math.log10(Math.max(from, 1e-3)))
  const last = Math.max(first + 1, Math.ceil(Math.log10(Math.max(to, 1e-3))))
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i))
  return {
    at: (value) => (Math.log10(Math.max(value, 10 ** first)) - first) / (last - first),
    ticks: ticks.map((value) => ({ value, text: short(value) })),
  }
}

const PERCENTILES = [0, 50, 90, 99, 99.9, 99.99]

/** Percentiles, each nine as wide as the one before it. */
export function percentiles(max: number): Scale {
  const depth = (percentile: number) => -Math.log10(1 - Math.min(percentile, max) / 100 + 1e-9)
  return {
    at: (percentile) => depth(percentile) / depth(max),
    ticks: PERCENTILES.filter((value) => value <= max).map((value) => ({ value, text: `${value}` })),
  }
}

function short(value: number): string {
  const size = Math.abs(value)
  if (size >= 1e6) return `${trimmed(value / 1e6)}M`
  if (size >= 1e4) return `${trimmed(value / 1e3)}k`
  return trimmed(value)
}

function trimmed(value: number): string {
  return String(Number(value.toPrecision(4)))
}
