import { seeded } from '../../bench/events/random.ts'

/** Choices that are the same for the same seed. */
export class Random {
  private readonly next: () => number

  constructor(seed: number) {
    this.next = seeded(seed)
  }

  /** The choices of one case: any case can be made again without those before it. */
  static ofCase(seed: number, index: number): Random {
    return new Random(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b))
  }

  /** A whole number from 0 to below `end`. */
  int(end: number): number {
    return Math.floor(this.next() * end)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.int(choices.length)] as T
  }

  /** Calls one of these. */
  one<T>(...makers: readonly (() => T)[]): T {
    return this.pick(makers)()
  }

  /** Up to `max` of them, fewer more often than many. */
  some<T>(max: number, make: (index: number) => T): T[] {
    return Array.from({ length: Math.floor(this.next() ** 2 * (max + 1)) }, (_, index) => make(index))
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.int(256)))
  }
}
