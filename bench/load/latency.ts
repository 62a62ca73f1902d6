import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'

const HOUR_US = 3_600_000_000
const DIGITS = 3

/**
 * Latencies in microseconds, in an HDR histogram. They count from when an event was *due*, not from when the publisher
 * came to send it, so a stall counts for every event that waited in it: there is no coordinated omission to correct.
 */
export class Latencies {
  private readonly histogram: Histogram

  static decode(text: string): Latencies {
    return new Latencies(decodeFromCompressedBase64(text, 32))
  }

  constructor(
    histogram: Histogram = build({
      bitBucketSize: 32,
      lowestDiscernibleValue: 1,
      highestTrackableValue: HOUR_US,
      numberOfSignificantValueDigits: DIGITS,
      useWebAssembly: false,
    }),
  ) {
    this.histogram = histogram
  }

  record(us: number): void {
    this.histogram.recordValue(us < 1 ? 1 : us > HOUR_US ? HOUR_US : Math.round(us))
  }

  add(other: Latencies): void {
    this.histogram.add(other.histogram)
  }

  get count(): number {
    return this.histogram.totalCount
  }

  get maxMs(): number {
    return this.histogram.totalCount === 0 ? 0 : this.histogram.maxValue / 1000
  }

  ms(percentile: number): number {
    return this.histogram.getValueAtPercentile(percentile) / 1000
  }

  /** As HdrHistogram's tools read it: V2, compressed, base64. */
  encode(): string {
    return encodeIntoCompressedBase64(this.histogram)
  }
}
