import { readInputs } from './inputs.ts'
import type { BrokerSurface } from './surface.ts'
import { faultsOf } from './watch.ts'
import { World, type WorldOptions } from './world.ts'

const SETTLE_MS = 1_200

/** What these inputs do to a fresh broker. @returns undefined where it stands them */
export async function replay(
  surface: BrokerSurface,
  inputs: readonly unknown[],
  options: WorldOptions,
): Promise<string | undefined> {
  const world = await World.start(options)
  try {
    const driver = await surface.open(world)
    const waiting = [...inputs]
    const send = async () => {
      for (let input = waiting.shift(); input !== undefined && !world.broker.gone; input = waiting.shift())
        await driver.send(input)
    }
    await Promise.all(Array.from({ length: surface.concurrency }, send))
    for (let waited = 0; waited < SETTLE_MS && !world.broker.gone; waited += 50)
      await new Promise((resolve) => setTimeout(resolve, 50))
    await driver.close()
    if (world.broker.gone) return world.broker.log.slice(-3_000)
    const faults = await faultsOf(world)
    return faults.size > 0
      ? `its guard caught ${[...faults.keys()].join(', ')}\n${world.broker.log.slice(-3_000)}`
      : undefined
  } finally {
    await world.stop()
  }
}

/**
 * Leaves out what is not needed: inputs, then steps of those that are left.
 * @returns undefined where even all of them do nothing
 */
export async function minimised(
  surface: BrokerSurface,
  file: string,
  options: WorldOptions,
  endMs: number,
): Promise<readonly unknown[] | undefined> {
  const fails = async (inputs: readonly unknown[]) => (await replay(surface, inputs, options)) !== undefined
  const { inputs } = readInputs(file)
  if (!(await fails(inputs))) return undefined
  let kept = await shortest(inputs, fails, endMs)
  for (const [index, input] of kept.entries()) {
    const { steps } = input as { steps?: readonly unknown[] }
    if (steps === undefined) continue
    const fewer = await shortest(steps, (some) => fails(kept.with(index, { ...(input as object), steps: some })), endMs)
    kept = kept.with(index, { ...(input as object), steps: fewer })
  }
  return kept
}

/** Leaves out ever smaller parts, as long as it still fails. */
async function shortest(
  all: readonly unknown[],
  fails: (some: readonly unknown[]) => Promise<boolean>,
  endMs: number,
): Promise<readonly unknown[]> {
  let kept = all
  for (
    let part = Math.ceil(kept.length / 2);
    part >= 1 && kept.length > 1;
    part = part === 1 ? 0 : Math.ceil(part / 2)
  ) {
    // What came last is the likeliest cause, so the first go first.
    for (let at = 0; at < kept.length && Date.now() < endMs; ) {
      const without = [...kept.slice(0, at), ...kept.slice(at + part)]
      if (without.length > 0 && (await fails(without))) kept = without
      else at += part
    }
  }
  return kept
}
