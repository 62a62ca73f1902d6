const originUs = Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000

/** Microseconds on the machine's monotonic clock, which is the same for all of its processes. */
export function monotonicUs(): number {
  return originUs + performance.now() * 1000
}
