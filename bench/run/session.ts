import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pinning } from '../machine/cores.ts'
import { machine } from '../machine/machine.ts'
import type { Peer, PeerName } from '../peers/peer.ts'
import { PEER_NAMES, PEERS } from '../peers/peers.ts'
import { endProgress } from './progress.ts'
import type { Result, Run, Threshold } from '../report/result.ts'
import { report } from '../report/table.ts'
import { NotMeasured, type Place } from './stage.ts'

/** Folder for results, relative to the working directory. */
export const RESULTS = join('bench', 'results')

export interface SessionOptions {
  readonly scenario: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly peers: readonly PeerName[]
  /** Measured beside them. */
  readonly others?: readonly Peer[]
  readonly seed: number
  readonly profile?: string
  /** Servers and clients share all cores. */
  readonly unpinned?: boolean
}

/** A run of a scenario: what it measures with, and what it has measured. */
export class Session {
  readonly place: Place
  readonly peers: readonly Peer[]
  readonly runs: Run[] = []
  readonly failures: string[]
  private readonly started = new Date()
  private readonly where = machine()
  private readonly options: SessionOptions

  static async open(options: SessionOptions): Promise<Session> {
    if (process.platform !== 'linux') throw new Error('this bench reads /proc, so it needs Linux')
    const peers: Peer[] = [...(options.others ?? [])]
    const failures: string[] = []
    for (const name of PEER_NAMES.filter((known) => options.peers.includes(known))) {
      const peer = PEERS[name]
      const reason = await peer.unavailable?.()
      if (reason === undefined) peers.push(peer)
      else failures.push(`${peer.title}: ${reason}`)
    }
    const cores = options.unpinned ? undefined : pinning()
    return new Session(options, { cores, profile: options.profile, seed: options.seed }, peers, failures)
  }

  private constructor(options: SessionOptions, place: Place, peers: readonly Peer[], failures: string[]) {
    this.options = options
    this.place = place
    this.peers = peers
    this.failures = failures
  }

  /** Measures a side, or notes why it could not. @throws Error if Roomcast could not be measured */
  async measure(label: string, peer: Peer, run: () => Promise<Run>): Promise<void> {
    await this.measureAll(label, [peer], async () => [await run()])
  }

  /** The same for sides that run at the same time: either all of them are measured, or none. */
  async measureAll(label: string, peers: readonly Peer[], run: () => Promise<readonly Run[]>): Promise<void> {
    try {
      this.runs.push(...(await run()))
    } catch (error) {
      if (!(error instanceof NotMeasured)) throw error
      if (peers.some(({ name }) => name === 'roomcast')) throw new Error(`${label}: ${error.message}`)
      this.failures.push(`${label}: ${error.message}`)
    }
  }

  /** Prints what was measured and writes it down. @returns the result */
  async close(thresholds: readonly Threshold[]): Promise<Result> {
    endProgress()
    const { scenario, settings, seed } = this.options
    const result: Result = {
      scenario,
      started: this.started.toISOString(),
      argv: process.argv.slice(2),
      machine: this.where,
      settings: {
        ...settings,
        seed,
        pinned: this.place.cores === undefined ? 'no' : 'the server has a core, the rest share another',
      },
      servers: Object.fromEntries(this.peers.map(({ name, about }) => [name, about])),
      runs: this.runs,
      failures: this.failures,
      thresholds,
    }
    console.log(report(result))
    mkdirSync(RESULTS, { recursive: true })
    const file = join(RESULTS, `${scenario}-${result.started.replaceAll(':', '-').slice(0, 19)}.json`)
    writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`)
    console.log(`\nwritten to ${file}`)
    return result
  }
}
