import v8 from 'node:v8'

/** From this many events a second on, the time that a larger young generation saves is worth its memory. */
const BUSY_EVENTS_PER_S = 2_000

let small = false

/**
 * V8 grows its space for new objects from 1 MB to 16 MB while clients connect, and never gives it back: 3 KB a connection
 * at 5,000 (`npm run bench -- fanout`). The data path makes little garbage, so a broker begins without. And one
 * thread empties 1 MB sooner than several have divided it among them: 5 % of the CPU of a handshake. To be called before
 * anything else is loaded.
 */
export function keepYoungGenerationSmall(): void {
  v8.setFlagsFromString('--semi-space-growth-factor=1')
  v8.setFlagsFromString('--no-parallel-scavenge')
  small = true
}

/** Lets it grow where events come so fast that collecting it often costs more (a quarter of the CPU at 50,000 a second). */
export function growYoungGenerationWhenBusy(eventsPerSecond: number): void {
  if (!small || eventsPerSecond < BUSY_EVENTS_PER_S) return
  v8.setFlagsFromString('--semi-space-growth-factor=2')
  v8.setFlagsFromString('--parallel-scavenge')
  small = false
}
