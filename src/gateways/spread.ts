const STEP_MS = 20

/** The delay of the item at `index` when `count` items are spread evenly over a time. */
export function turnMs(index: number, count: number, overMs: number): number {
  return Math.floor((index * overMs) / count)
}

/** Calls `act` for each item, spread evenly over a time. */
export async function spread<T>(items: readonly T[], overMs: number, act: (item: T) => void): Promise<void> {
  const startMs = Date.now()
  for (let index = 0; index < items.length; ) {
    while (index < items.length && turnMs(index, items.length, overMs) <= Date.now() - startMs) act(items[index++] as T)
    if (index < items.length) await new Promise((resolve) => setTimeout(resolve, STEP_MS))
  }
}
