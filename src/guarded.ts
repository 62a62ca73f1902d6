/**
 * The one guard around code that runs later than the call that started it: timers, callbacks of NATS and of key-value
 * watches, queues. What such code throws or rejects with is reported with its stack and counted, and costs nothing
 * else. There is one guard per process, as there is one `uncaughtException` for what still escapes.
 */

export type FaultListener = (where: string, error: unknown) => void

const listeners = new Set<FaultListener>()

/** Calls `listener` for every fault. @returns a function that ends this */
export function onFault(listener: FaultListener): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/**
 * Reports something that went wrong where nobody waits for an answer.
 * @param where a few fixed words for logs and metrics, such as `kv watch`; never what a client sent
 */
export function reportFault(where: string, error: unknown): void {
  if (listeners.size === 0) console.error(`roomcast: ${where}:`, error)
  for (const listener of listeners) listener(where, error)
}

/** Runs `act` now; if it returns a promise, that is guarded as well. */
export function runGuarded(where: string, act: () => unknown): void {
  try {
    const outcome = act()
    if (outcome instanceof Promise) outcome.catch((error: unknown) => reportFault(where, error))
  } catch (error) {
    reportFault(where, error)
  }
}

/** The same function, guarded: it returns nothing and never throws. */
export function guarded<A extends readonly unknown[]>(
  where: string,
  act: (...args: A) => unknown,
): (...args: A) => void {
  return (...args) => runGuarded(where, () => act(...args))
}

/** `setInterval` behind the guard. */
export function every(where: string, ms: number, act: () => unknown): NodeJS.Timeout {
  return setInterval(guarded(where, act), ms)
}

/** `setTimeout` behind the guard. */
export function after(where: string, ms: number, act: () => unknown): NodeJS.Timeout {
  return setTimeout(guarded(where, act), ms)
}

/** `setImmediate` behind the guard. */
export function soon(where: string, act: () => unknown): void {
  setImmediate(guarded(where, act))
}
