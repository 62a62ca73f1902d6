import v8 from 'node:v8'

/** From this many events a second on, what they cost is worth more than memory and the cost of a handshake. */
const BUSY_EVENTS_PER_S = 2_000

/**
 * When a function is compiled: after a quarter of the bytecode (Node 20) or calls (Node 22) that V8 would wait for; and
 * as it would.
 */
const [COMPILED_SOON, COMPILED_LATER] =
  Number.parseInt(process.versions.v8, 10) < 12
    ? ['--interrupt-budget=16896', '--interrupt-budget=67584']
    : ['--invocation-count-for-turbofan=750', '--invocation-count-for-turbofan=3000']

/** Whether the process is Roomcast's, to set up as it likes. */
let ours = false
let busy = false

/**
 * Sets V8's heap up for a process whose data path makes little garbage, while its clients come and stay. To be called
 * before anything else is loaded. Measured by `npm run bench -- fanout`:
 */
export function setUpHeap(): void {
  ours = true
  set(
    // The space for new objects would grow from 1 MB to 16 MB while clients connect, and never shrink: 3 KB a
    // connection at 5,000.
    '--semi-space-growth-factor=1',
    // One thread empties 1 MB sooner than several have divided it among them: 5 % of the CPU of a handshake.
    '--no-parallel-scavenge',
    // All is looked through once as much again has come, as in Go, not at every third more: what comes are clients, and
    // they stay. 5 % again.
    '--heap-growing-percent=100',
  )
}

/**
 * Sets V8's compiler up for thousands of clients that come at once when a process has just begun: together 4 to 5 % of
 * the CPU of a handshake. To be called once all is loaded: what loads it is not worth more.
 */
export function setUpCompiler(): void {
  set(
    // A sixth of what V8 would copy into a function from those that it calls: the same is not compiled again and again.
    '--max-inlined-bytecode-size-cumulative=150',
    // The first thousand clients come soon.
    COMPILED_SOON,
  )
}

/**
 * Goes back to what V8 does by itself where events come fast. The space for new objects grows: emptying it often would
 * be a quarter of the CPU at 50,000 a second. What handles each event is compiled with more care.
 */
export function favourEvents(eventsPerSecond: number): void {
  if (busy || eventsPerSecond < BUSY_EVENTS_PER_S) return
  busy = true
  set(
    '--semi-space-growth-factor=2',
    '--parallel-scavenge',
    '--max-inlined-bytecode-size-cumulative=920',
    COMPILED_LATER,
  )
}

function set(...flags: string[]): void {
  if (ours) for (const flag of flags) v8.setFlagsFromString(flag)
}
