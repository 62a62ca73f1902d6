import { statfsSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'
import type { SystemFigures } from '../contracts/contract.ts'
import type { Meters } from '../meters.ts'

/** Reads the figures of this process and its machine. Rates cover the time since the previous reading. */
export class SystemFigureReader {
  private readonly meters: Meters
  private cpu = process.cpuUsage()
  private atMs = Date.now()
  private commands = 0
  private errors = 0

  constructor(meters: Meters) {
    this.meters = meters
  }

  read(channels: number): SystemFigures {
    const { meters } = this
    const nowMs = Date.now()
    const { user, system } = process.cpuUsage(this.cpu)
    const commands = total(meters.commands)
    const errors = total(meters.errors)
    const figures: SystemFigures = {
      cpuPercent: rounded((user + system) / 10 / Math.max(1, nowMs - this.atMs)),
      memoryPercent: rounded((1 - freemem() / totalmem()) * 100),
      diskPercent: rounded(diskPercent()),
      bytesSent: total(meters.deliveredBytes),
      bytesReceived: meters.bytesReceived + meters.eventBytes,
      connections: meters.connections,
      channels,
      errorRate: rounded((errors - this.errors) / Math.max(1, commands - this.commands)),
      uptimeS: Math.round(process.uptime()),
    }
    this.cpu = process.cpuUsage()
    this.atMs = nowMs
    this.commands = commands
    this.errors = errors
    return figures
  }
}

function diskPercent(): number {
  const { blocks, bavail } = statfsSync('.')
  return blocks === 0 ? 0 : (1 - bavail / blocks) * 100
}

function total(map: ReadonlyMap<string, number>): number {
  let sum = 0
  for (const n of map.values()) sum += n
  return sum
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100
}
