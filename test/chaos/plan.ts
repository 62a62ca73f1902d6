import { seeded } from '../../bench/events/random.ts'
import type { Kind, Lane, Schedule } from './schedules.ts'

/** One fault, with all that chance decides about it. */
export interface Fault {
  readonly kind: Kind
  /** Before it. */
  readonly pauseMs: number
  /** How long it lasts. */
  readonly lastsMs: number
  /** Before history is destroyed the broker is cut off for so long. 0: not. */
  readonly lagMs: number
  /** Which one of several, and which clients: a part of 1. */
  readonly which: number
  readonly share: number
}

const FIRST_MS = 300
/** How long each kind lasts, at least and at most. */
const LASTS_MS: Readonly<Record<Kind, readonly [number, number]>> = {
  'broker-kill': [0, 1_500],
  'broker-stop': [1_000, 5_000],
  'broker-drain': [0, 1_000],
  'worker-kill': [0, 0],
  'worker-stop': [500, 3_000],
  'nats-kill': [0, 2_000],
  'nats-stop': [1_000, 5_000],
  'nats-wipe': [0, 1_500],
  'stream-delete': [0, 0],
  'stream-purge': [0, 0],
  'consumer-delete': [0, 0],
  'cut-clients': [0, 0],
  'stall-clients': [500, 5_000],
  'throttle-clients': [1_000, 4_000],
  'half-open-clients': [200, 1_000],
  'refuse-clients': [300, 1_500],
  'cut-nats': [0, 0],
  'stall-nats': [500, 5_000],
  'throttle-nats': [1_000, 3_000],
  'half-open-nats': [500, 1_000],
  'leader-kill': [500, 3_000],
  'follower-kill': [500, 3_000],
  'quorum-loss': [1_000, 3_000],
  'node-restart': [0, 1_000],
}

/** The faults of each lane, the same for the same seed. There are more of them than there is time for. */
export function plan({ name, lanes }: Schedule, seed: number, seconds: number): Fault[][] {
  return lanes.map((lane, index) => faultsOf(lane, seeded(hash(`${name} ${seed} ${index}`)), seconds))
}

function faultsOf({ kinds, pauseMs }: Lane, random: () => number, seconds: number): Fault[] {
  const between = ([least, most]: readonly [number, number]) => Math.round(least + random() * (most - least))
  const faults: Fault[] = []
  for (let ms = 0; ms < seconds * 1_000; ) {
    const kind = kinds[Math.floor(random() * kinds.length)] as Kind
    const fault = {
      kind,
      pauseMs: faults.length === 0 ? FIRST_MS : between(pauseMs),
      lastsMs: between(LASTS_MS[kind]),
      lagMs: random() < 0.25 ? 0 : between([200, 1_500]),
      which: random(),
      share: 0.3 + random() * 0.7,
    }
    faults.push(fault)
    ms += fault.pauseMs + fault.lastsMs
  }
  return faults
}

/** Neighbouring seeds begin far from each other (FNV-1a). */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
