/** A line through values over time. */
export interface Trend {
  /** Mean of the values looked at. */
  readonly level: number
  readonly perMinute: number
  /** What the line rises by over the time looked at. */
  readonly growth: number
  /** Three times the standard deviation around the line. */
  readonly noise: number
}

/**
 * Fits a line by least squares.
 * @param runIn part of the values to leave out at the start, while rings, pools and heaps fill up
 */
export function trendOf(seconds: readonly number[], values: readonly number[], runIn: number): Trend {
  const from = Math.floor(seconds.length * runIn)
  const xs = seconds.slice(from)
  const ys = values.slice(from)
  const mean = (all: readonly number[]) => all.reduce((sum, value) => sum + value, 0) / all.length
  const [mx, my] = [mean(xs), mean(ys)]
  const slope =
    xs.reduce((sum, x, i) => sum + (x - mx) * ((ys[i] as number) - my), 0) /
    xs.reduce((sum, x) => sum + (x - mx) ** 2, 0)
  const off = xs.map((x, i) => ((ys[i] as number) - my - slope * (x - mx)) ** 2)
  return {
    level: my,
    perMinute: slope * 60,
    growth: slope * ((xs.at(-1) ?? Number.NaN) - (xs[0] ?? Number.NaN)),
    noise: 3 * Math.sqrt(mean(off)),
  }
}
