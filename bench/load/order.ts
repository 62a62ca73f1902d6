export interface Faults {
  /** Events that never came, over all connections. */
  missing: number
  twice: number
  /** Events that came after a later one. */
  disordered: number
}

/** Stands for the last number where none was seen: whatever comes next is accepted as the first. */
const ANEW = -1

/**
 * Checks that every connection gets every event of its series once and in order. Events of a series are numbered from
 * 1. A *place* is one connection's view of one series.
 */
export class Order {
  readonly faults: Faults = { missing: 0, twice: 0, disordered: 0 }
  private readonly last: Int32Array
  /** Numbers that were skipped, for the few places that skip any. */
  private readonly gaps = new Map<number, Set<number>>()

  constructor(places: number) {
    this.last = new Int32Array(places)
  }

  saw(place: number, n: number): void {
    const expected = (this.last[place] as number) + 1
    if (n === expected) {
      this.last[place] = n
      return
    }
    if (expected === ANEW + 1) {
      this.last[place] = n
      return
    }
    if (n > expected) {
      for (let missed = expected; missed < n; missed++) this.gapOf(place).add(missed)
      this.faults.missing += n - expected
      this.last[place] = n
    } else if (this.gapOf(place).delete(n)) {
      this.faults.missing--
      this.faults.disordered++
    } else this.faults.twice++
  }

  /** A new client takes over this place: it starts with whatever event comes next. */
  restart(place: number): void {
    this.last[place] = ANEW
    this.gaps.delete(place)
  }

  /** @returns how many of these events a place has not received yet */
  outstanding(place: number, events: number): number {
    const last = this.last[place] as number
    return last === ANEW ? 0 : Math.max(0, events - last)
  }

  /** Ends the check: events that are still outstanding count as missing. */
  end(events: (place: number) => number): Faults {
    for (let place = 0; place < this.last.length; place++) {
      const missed = this.outstanding(place, events(place))
      if (missed > 0) {
        this.faults.missing += missed
        this.last[place] = events(place)
      }
    }
    return this.faults
  }

  private gapOf(place: number): Set<number> {
    let gap = this.gaps.get(place)
    if (!gap) this.gaps.set(place, (gap = new Set()))
    return gap
  }
}
