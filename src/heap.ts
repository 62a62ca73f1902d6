import v8 from 'node:v8'

/** From this many events a second on, the time that a larger young generation saves is worth its memory. */
const BUSY_EVENTS_PER_S = 2_000

let set = false

/**
 * Sets V8's heap up for a process whose data path makes little garbage, while its clients come and stay. To be called
 * before anything else is loaded. Measured by `npm run bench -- fanout`:
 */
export function setUpHeap(): void {
  // The space for new objects would grow from 1 MB to 16 MB while clients connect, and never shrink: 3 KB a connection at 5,000.
  v8.setFlagsFromString('--semi-space-growth-factor=1')
  // One thread empties 1 MB sooner than several have divided it among them: 5 % of the CPU of a handshake.
  v8.setFlagsFromString('--no-parallel-scavenge')
  // All is looked through once as much again has come, as in Go, not at every third more: what comes are clients, and they stay. 5 % again.
  v8.setFlagsFromString('--heap-growing-percent=100')
  set = true
}

/** Lets the space for new objects grow where events come so fast that emptying it often costs more (a quarter of the CPU at 50,000 a second). */
export function growHeapWhenBusy(eventsPerSecond: number): void {
  if (!set || eventsPerSecond < BUSY_EVENTS_PER_S) return
  v8.setFlagsFromString('--semi-space-growth-factor=2')
  v8.setFlagsFromString('--parallel-scavenge')
  set = false
}
