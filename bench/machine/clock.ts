const SAMPLES = 20

/**
 * The origin of `performance.now()` on the machine's monotonic clock. If the process were suspended between the two
 * readings, every later time would be off by that, so it takes the closest of several pairs.
 */
function originUs(): number {
  let best = { gapUs: Number.POSITIVE_INFINITY, originUs: 0 }
  for (let i = 0; i < SAMPLES; i++) {
    const beforeUs = Number(process.hrtime.bigint()) / 1000
    const nowUs = performance.now() * 1000
    const gapUs = Number(process.hrtime.bigint()) / 1000 - beforeUs
    if (gapUs < best.gapUs) best = { gapUs, originUs: beforeUs + gapUs / 2 - nowUs }
  }
  return best.originUs
}

const origin = originUs()

/** Microseconds on the machine's monotonic clock, which is the same for all of its processes. */
export function monotonicUs(): number {
  return origin + performance.now() * 1000
}
