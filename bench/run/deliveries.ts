import type { GroupTally } from '../load/crowd.ts'
import type { Figures } from '../report/result.ts'
import { cpuSince, cpuSum, totalOf } from '../machine/usage.ts'
import type { Load, Stage, Usage } from './stage.ts'

/** A group's figures. */
export function figuresOf({ latencies, deliveries, missing, twice, disordered, cut, bytes }: GroupTally): Figures {
  return {
    p50Ms: latencies.ms(50),
    p90Ms: latencies.ms(90),
    p99Ms: latencies.ms(99),
    p999Ms: latencies.ms(99.9),
    maxMs: latencies.maxMs,
    frameBytes: latencies.count === 0 ? 0 : bytes / latencies.count,
    deliveries,
    missing,
    twice,
    disordered,
    ...(cut > 0 ? { cut } : undefined),
  }
}

/** Publishes without measuring, and waits until everything has arrived. */
export async function warmUp(stage: Stage, loads: readonly Load[], seconds: number): Promise<void> {
  if (seconds <= 0) return
  await Promise.all(loads.map((load) => stage.publish({ ...load, seconds })))
  await stage.arrival()
}

/** Measures what a server uses under load, in one turn or several. */
export class Deliveries {
  private used: Usage = { server: { userUs: 0, systemUs: 0 }, clientUs: 0, othersUs: 0, us: 0 }
  private events = 0
  private deliveries = 0
  private lateMsMax = 0
  private readonly stage: Stage

  constructor(stage: Stage) {
    this.stage = stage
  }

  /** Publishes without measuring. Late events of the turn before have counted until now. */
  async runIn(loads: readonly Load[], seconds: number): Promise<void> {
    await this.stage.crowd.record(false)
    await warmUp(this.stage, loads, seconds)
  }

  /**
   * Publishes all loads at the same time and measures until everything has arrived.
   * @param groups the groups that must have everything; default: all
   */
  async turn(loads: readonly Load[], groups?: readonly string[]): Promise<void> {
    const { crowd } = this.stage
    await crowd.record(true)
    const { arrived: arrivedBefore } = await crowd.state()
    const start = this.stage.usage()
    const published = await Promise.all(loads.map((load) => this.stage.publish(load)))
    await this.stage.arrival(undefined, groups)
    const end = this.stage.usage()
    const { arrived } = await crowd.state()
    this.used = {
      server: cpuSum(this.used.server, cpuSince(start.server, end.server)),
      clientUs: this.used.clientUs + end.clientUs - start.clientUs,
      othersUs: this.used.othersUs + end.othersUs - start.othersUs,
      us: this.used.us + end.us - start.us,
    }
    this.events += published.reduce((sum, { events }) => sum + events, 0)
    this.deliveries += arrived - arrivedBefore
    this.lateMsMax = Math.max(this.lateMsMax, ...published.map(({ lateMsMax }) => lateMsMax))
  }

  /** CPU per delivery and per event. The caller takes the tally. */
  figures(): Figures {
    const { deliveries } = this
    const { server, clientUs, othersUs, us } = this.used
    return {
      cpuUs: totalOf(server) / deliveries,
      cpuUserUs: server.userUs / deliveries,
      cpuSystemUs: server.systemUs / deliveries,
      ...(this.events > 0 ? { cpuPerEventUs: totalOf(server) / this.events } : undefined),
      clientBusy: clientUs / us,
      othersBusy: Math.max(0, othersUs) / us,
      lateMsMax: this.lateMsMax,
    }
  }
}
