import type { ProtocolName } from './protocol.ts'
import { cpuRatio, median, memoryDifferenceBytes, p99Ratio, type Round } from './rounds.ts'

/** What Roomcast must not exceed. */
export interface Threshold {
  readonly about: string
  /** Median of the rounds; NaN where it could not be measured, which does not meet it. */
  readonly value: number
  readonly max: number
  readonly met: boolean
}

const CPU_RATIO_MAX = 1.1
const P99_RATIO_MAX = 1.3
const MEMORY_DIFFERENCE_KB_MAX = 3
const SOCKETIO_MEMORY_KB_MAX = 5
const SOCKETIO_HANDSHAKE_RATIO_MAX = 0.5

export function thresholdsOf(protocol: ProtocolName, rounds: readonly Round[]): Threshold[] {
  const medianOf = (value: (round: Round) => number) => median(rounds.map(value))
  const cpu = threshold('CPU per delivery, ratio', medianOf(cpuRatio), CPU_RATIO_MAX)
  const faults = rounds.reduce((sum, { roomcast: { missing, twice, disordered } }) => sum + missing + twice + disordered, 0)
  const faultless = threshold('events missing, twice or out of order in Roomcast', faults, 0)
  if (protocol === 'raw') {
    return [
      cpu,
      threshold('p99 latency, ratio', medianOf(p99Ratio), P99_RATIO_MAX),
      threshold('memory per connection, difference in KB', medianOf(memoryDifferenceBytes) / 1024, MEMORY_DIFFERENCE_KB_MAX),
      faultless,
    ]
  }
  const handshakeRatios = rounds.flatMap(({ roomcast, socketioUws }) => (socketioUws === undefined ? [] : roomcast.handshakeUs / socketioUws.handshakeUs))
  return [
    cpu,
    threshold('memory per connection, KB', medianOf(({ roomcast }) => roomcast.connectionBytes) / 1024, SOCKETIO_MEMORY_KB_MAX),
    threshold('handshake CPU, ratio to socket.io on uWS', median(handshakeRatios), SOCKETIO_HANDSHAKE_RATIO_MAX),
    faultless,
  ]
}

function threshold(about: string, value: number, max: number): Threshold {
  return { about, value, max, met: value <= max }
}
