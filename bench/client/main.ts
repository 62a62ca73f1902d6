import { createHistogram } from 'node:perf_hooks'
import { createSigner } from 'fast-jwt'
import { answerCalls } from '../calls.ts'
import { openConnection } from './connection.ts'
import { dialogueOf, type Target } from './dialogue.ts'
import { type Faults, NumberReader, Order } from './order.ts'

/** A process: thousands of connections, each of which must get every event once, in order. */

export interface ConnectOptions {
  readonly target: Target
  readonly connections: number
  /** Each connection has a token of its own, by a user of its own. */
  readonly jwtSecret: string
  /** Connections being opened at the same time. */
  readonly atOnce: number
  readonly timeoutMs: number
}

export interface Latency {
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
}

export interface Tally extends Faults {
  readonly deliveries: number
  readonly latency: Latency
  /** Mean length of an event's frame, without its WebSocket header. */
  readonly frameBytes: number
}

export interface LoadClient {
  /** @returns how many were ready in time */
  connect(options: ConnectOptions): Promise<number>
  /** From the next event on latencies count, and deliveries from 0. */
  record(): void
  /** Waits until every connection had this many events altogether, at most so long. */
  arrival(events: number, timeoutMs: number): Promise<void>
  /** @param events how many there were altogether */
  tally(events: number): Tally
}

const latencyUs = createHistogram()
const numbers = new NumberReader()
let order = new Order(0)
let connections = 0
let arrived = 0
let recordedFrom = 0
let recording = false
let bytes = 0
/** Called when `arrived` gets there. */
let awaited = { deliveries: Number.POSITIVE_INFINITY, resolve: () => {} }

answerCalls<LoadClient>({
  async connect({ target, connections: count, jwtSecret, atOnce, timeoutMs }) {
    connections = count
    order = new Order(count)
    const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })
    const exp = Math.floor(Date.now() / 1000) + 3_600
    let next = 0
    let ready = 0
    const openSome = async () => {
      for (let index = next++; index < count; index = next++) {
        const dialogue = dialogueOf(target, sign({ sub: `user-${index}`, exp }))
        await openConnection(target.port, dialogue, (frame, start, end, arrivedUs) => take(index, frame, start, end, arrivedUs))
        ready++
      }
    }
    await Promise.race([new Promise((resolve) => setTimeout(resolve, timeoutMs)), Promise.all(Array.from({ length: atOnce }, openSome))])
    return ready
  },
  record() {
    recording = true
    recordedFrom = arrived
    bytes = 0
  },
  async arrival(events, timeoutMs) {
    if (arrived >= events * connections) return
    const late = new Promise<void>((resolve) => setTimeout(resolve, timeoutMs))
    await Promise.race([late, new Promise<void>((resolve) => (awaited = { deliveries: events * connections, resolve }))])
  },
  tally(events) {
    const ms = (percentile: number) => latencyUs.percentile(percentile) / 1000
    const deliveries = arrived - recordedFrom
    return {
      ...order.end(events),
      deliveries,
      latency: { p50Ms: ms(50), p90Ms: ms(90), p99Ms: ms(99), p999Ms: ms(99.9), maxMs: latencyUs.max / 1000 },
      frameBytes: deliveries === 0 ? 0 : bytes / deliveries,
    }
  },
})

function take(connection: number, frame: Buffer, start: number, end: number, arrivedUs: number): void {
  numbers.read(frame, start, end)
  order.saw(connection, numbers.n)
  if (recording) {
    latencyUs.record(Math.max(1, Math.round(arrivedUs - numbers.t)))
    bytes += end - start
  }
  if (++arrived >= awaited.deliveries) awaited.resolve()
}
