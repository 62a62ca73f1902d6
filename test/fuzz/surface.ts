import type { IProperty } from 'fast-check'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/** A way to reach a broker with odd input. */
export interface BrokerSurface<C = unknown> {
  readonly name: string
  readonly about: string
  /** How many at a time. */
  readonly concurrency: number
  /** One input: plain data and bytes, the same for the same choices. */
  readonly make: (random: Random) => C
  /** Its driver; `send` resolves once the input is out. */
  readonly open: (world: World) => Promise<Driver<C>>
}

export interface Driver<C> {
  send(input: C): Promise<void>
  close(): Promise<void>
}

/** Functions that get odd input within this process: a property that must hold. */
export interface PureSurface {
  readonly name: string
  readonly about: string
  // biome-ignore lint/suspicious/noExplicitAny: each has inputs of its own.
  readonly properties: Readonly<Record<string, IProperty<any>>>
}

/** Hides the type of its inputs: who runs surfaces only carries them. */
export function surface<C>(of: BrokerSurface<C>): BrokerSurface {
  return of as BrokerSurface
}
