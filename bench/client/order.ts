const QUOTE = 34
const COMMA = 44
const ZERO = 48
const N_KEY = '"n":'
/** Between the digits of `n` and those of `t`. */
const T_KEY_BYTES = ',"t":'.length

export interface Faults {
  /** Events that never came, over all connections. */
  missing: number
  twice: number
  /** Events that came after a later one. */
  disordered: number
}

/** Whether every connection gets every event once and in order. Events are numbered from 1 by `data.n`. */
export class Order {
  readonly faults: Faults = { missing: 0, twice: 0, disordered: 0 }
  private readonly last: Int32Array
  /** Numbers that a connection jumped over, for the few that do. */
  private readonly gaps = new Map<number, Set<number>>()

  constructor(connections: number) {
    this.last = new Int32Array(connections)
  }

  saw(connection: number, n: number): void {
    const expected = (this.last[connection] as number) + 1
    if (n === expected) {
      this.last[connection] = n
      return
    }
    if (n > expected) {
      for (let missed = expected; missed < n; missed++) this.gapOf(connection).add(missed)
      this.faults.missing += n - expected
      this.last[connection] = n
    } else if (this.gapOf(connection).delete(n)) {
      this.faults.missing--
      this.faults.disordered++
    } else this.faults.twice++
  }

  /** No more will come: what is missing at the end counts as well. */
  end(events: number): Faults {
    for (const last of this.last) this.faults.missing += events - last
    this.last.fill(events)
    return this.faults
  }

  private gapOf(connection: number): Set<number> {
    let gap = this.gaps.get(connection)
    if (!gap) this.gaps.set(connection, (gap = new Set()))
    return gap
  }
}

/** Reads the numbers `n` and `t` of events, which stand side by side at the same place in every frame of a server. */
export class NumberReader {
  n = 0
  t = 0
  private offset = 0

  read(bytes: Buffer, start: number, end: number): void {
    let at = start + this.offset
    if (this.offset === 0 || bytes[at - 4] !== QUOTE || bytes[at - 3] !== 110 || bytes[at - 2] !== QUOTE) {
      at = bytes.indexOf(N_KEY, start, 'latin1') + N_KEY.length
      if (at < start + N_KEY.length || at > end) throw new Error(`no event: ${bytes.toString('utf8', start, Math.min(end, start + 500))}`)
      this.offset = at - start
    }
    let n = 0
    for (; bytes[at] !== COMMA; at++) n = n * 10 + (bytes[at] as number) - ZERO
    let t = 0
    for (at += T_KEY_BYTES; bytes[at] !== COMMA; at++) t = t * 10 + (bytes[at] as number) - ZERO
    this.n = n
    this.t = t
  }
}
