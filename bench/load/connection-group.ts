import type { Dialect } from './dialects/dialect.ts'
import { dialectOf } from './dialects/dialects.ts'
import type { Target } from './dialects/target.ts'
import { Latencies } from './latency.ts'
import { JsonNumbers, MsgpackNumbers, type Numbers, readEpoch, readSequence } from './numbers.ts'
import { type Faults, Order } from './order.ts'

/** Connections that are alike. */
export interface GroupOptions {
  readonly name: string
  readonly target: Target
  readonly connections: number
  /** Whether each connection gets series 0. */
  readonly common: boolean
  /** Each connection also gets one of the series from 1 to this number, round-robin. 0: none. */
  readonly series: number
  /** Bytes per read. A group that is throttled needs small reads. */
  readonly readBytes?: number
}

/** What a group received, and what it should have received. */
export interface Tally extends Faults {
  readonly deliveries: number
  /** Events of a series that the connection did not subscribe to. */
  readonly foreign: number
  /** How often a connection was cut. */
  readonly cut: number
  /** How often the server reported that it no longer had events which a client needed. */
  readonly toldMissed: number
  readonly bytes: number
  readonly latencies: string
  /** Why the first connection was cut. */
  readonly reason: string
}

/** Number of events published, by series. */
export type Counts = readonly number[]

/** What a group knows of one of its connections. */
export interface Member {
  readonly index: number
  /** The series that it gets beside the common one; 0: none. */
  readonly series: number
  /** Place of its common series in the group's order; its own series' is the next. */
  readonly place: number
  /** Sequence of the last event's position; 0: none. */
  sequence: number
}

const READ_BYTES = 262_144
/** Series that a connection may be in: the common one, and one of its own. */
const PLACES = 2

/** The connections of a group that one process holds: what they have in common, and what they received together. */
export class ConnectionGroup {
  readonly name: string
  readonly target: Target
  readonly dialect: Dialect
  readonly readBytes: number
  /** Number of series beside the common one. */
  readonly seriesCount: number
  ready = 0
  arrived = 0
  /** When the last event came, µs. */
  lastArrivedUs = 0
  toldMissed = 0
  /** Epoch of all positions. */
  epoch = ''
  private readonly common: boolean
  /** The series of each connection, in the order of their places. */
  private readonly ownSeries: number[] = []
  private readonly numbers: Numbers
  private readonly order: Order
  private readonly latencies = new Latencies()
  private readonly tailBytes: number | undefined
  private recording = false
  private bytes = 0
  private foreign = 0
  private cut = 0
  private reason = ''

  /** @param size how many of the group's connections this process holds */
  constructor({ name, target, common, series, readBytes = READ_BYTES }: GroupOptions, size: number) {
    this.name = name
    this.target = target
    this.common = common
    this.seriesCount = series
    this.readBytes = readBytes
    this.dialect = dialectOf(target)
    this.tailBytes = this.dialect.tailBytes
    this.numbers = target.format === 'msgpack' ? new MsgpackNumbers() : new JsonNumbers()
    this.order = new Order(size * PLACES)
  }

  /** Makes room for one more connection. @returns its place in the order */
  addPlace(series: number): number {
    return (this.ownSeries.push(series) - 1) * PLACES
  }

  /** An event's bytes that came over a connection. @returns false: they are none */
  take(connection: Member, bytes: Buffer, start: number, end: number, arrivedUs: number): boolean {
    const { numbers } = this
    if (!numbers.read(bytes, start, end)) return false
    const { n, t, k } = numbers
    if (k === 0 && this.common) this.order.saw(connection.place, n)
    else if (k === connection.series && k !== 0) this.order.saw(connection.place + 1, n)
    else this.foreign++
    if (this.tailBytes !== undefined) {
      connection.sequence = readSequence(bytes, end - this.tailBytes) || connection.sequence
      if (this.epoch === '') this.epoch = readEpoch(bytes, start, end - this.tailBytes)
    }
    if (this.recording) {
      this.latencies.record(arrivedUs - t)
      this.bytes += end - start
    }
    this.arrived++
    this.lastArrivedUs = arrivedUs
    return true
  }

  /** A new client takes over the connection's place: it starts with whatever event comes next. */
  restart({ place }: Member): void {
    for (let i = 0; i < PLACES; i++) this.order.restart(place + i)
  }

  lost({ index }: Member, reason: string): void {
    this.ready--
    this.cut++
    this.reason ||= `${this.name} ${index}, ${reason}`
  }

  record(on: boolean): void {
    this.recording = on
  }

  /** Number of events that its connections have not received yet. */
  outstanding(counts: Counts): number {
    let sum = 0
    for (const [i, series] of this.ownSeries.entries()) {
      const place = i * PLACES
      if (this.common) sum += this.order.outstanding(place, counts[0] ?? 0)
      if (series > 0) sum += this.order.outstanding(place + 1, counts[series] ?? 0)
    }
    return sum
  }

  tally(counts: Counts): Tally {
    const faults = this.order.end((place) => {
      if (place % PLACES === 0) return this.common ? (counts[0] ?? 0) : 0
      const series = this.ownSeries[(place - 1) / PLACES] ?? 0
      return series === 0 ? 0 : (counts[series] ?? 0)
    })
    return {
      ...faults,
      deliveries: this.latencies.count,
      foreign: this.foreign,
      cut: this.cut,
      toldMissed: this.toldMissed,
      bytes: this.bytes,
      latencies: this.latencies.encode(),
      reason: this.reason,
    }
  }
}
