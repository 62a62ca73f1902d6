import { fileURLToPath } from 'node:url'
import type { Calls } from './calls.ts'
import { Child, childPids } from './child.ts'
import type { Latency, LoadClient, Tally } from './client/main.ts'
import { monotonicUs } from './clock.ts'
import type { Pinning } from './cores.ts'
import { progress } from './progress.ts'
import { type Protocol, type Side, subjectOf } from './protocol.ts'
import type { Publisher } from './publisher.ts'
import type { Nats } from './servers/nats.ts'
import { type ServerOptions, startServer } from './servers/server.ts'
import { type Cpu, cpuOf, machineCpuUs, residentBytes } from './usage.ts'

/** What one server is put through. */
export interface Load {
  readonly protocol: Protocol
  readonly subscribers: number
  readonly payloadBytes: number
  readonly perSecond: number
  readonly seconds: number
  readonly warmupSeconds: number
  /** Clients of the raw server subscribe by message, as Roomcast's do, instead of being subscribed as they open. */
  readonly rawByMessage: boolean
}

/** What one server did under it. */
export interface Figures {
  readonly cpuUs: number
  readonly cpuUserUs: number
  readonly cpuSystemUs: number
  readonly latency: Latency
  /** CPU time of the server from the first connect until all get events, per connection. */
  readonly handshakeUs: number
  readonly handshakeUserUs: number
  /** Growth of the resident memory from before any connection to after all subscribed, per connection. */
  readonly connectionBytes: number
  /** Of it: live JavaScript objects. */
  readonly connectionHeapBytes: number
  /** Of it: V8's space for new objects, which does not grow any further. */
  readonly connectionYoungBytes: number
  readonly deliveries: number
  readonly missing: number
  readonly twice: number
  readonly disordered: number
  readonly frameBytes: number
  /** Part of the time that the load client computed: near 1 it could not follow, and the latencies are its own. */
  readonly clientBusy: number
  /** Cores' worth of time that programs beside the bench used; above 0 they disturbed it. */
  readonly othersBusy: number
  /** How late the publisher was at most; the latencies hold it. */
  readonly lateMsMax: number
}

export interface Place {
  readonly nats: Nats
  readonly cores: Pinning | undefined
  readonly profile: string | undefined
}

const JWT_SECRET = 'a-secret-for-benches-that-is-long-enough'
const CONNECTING_AT_ONCE = 200
const CONNECT_TIMEOUT_MS = 60_000
/** Long enough for the slowest to get what is still on its way when the last event has been published. */
const ARRIVAL_TIMEOUT_MS = 20_000

/** A server that could not connect everybody in time, so nothing was measured. */
export interface NotConnected {
  readonly notConnected: string
}

/** Starts a server, connects everybody, publishes, measures; and ends all of it. */
export async function measure(side: Side, load: Load, { nats, cores, profile }: Place, label: string): Promise<Figures | NotConnected> {
  const { protocol, subscribers, perSecond, payloadBytes } = load
  const serverOptions: ServerOptions = { natsUrl: nats.url, protocol, core: cores?.server, jwtSecret: JWT_SECRET, rawByMessage: load.rawByMessage, profile }
  progress(`${label}: starting`)
  await nats.resetStream()
  const server = await startServer(side, serverOptions)
  const client = script<LoadClient>('client/main.ts', cores)
  const publisher = script<Publisher>('publisher.ts', cores)
  const weigh = async () => ({ heap: await server.child.call('settle'), residentBytes: residentBytes(server.child.pid) })

  const before = await weigh()
  progress(`${label}: connecting ${subscribers}`)
  const beforeConnecting = cpuOf(server.child.pid)
  const connected = await client.call('connect', { target: server.target, connections: subscribers, jwtSecret: JWT_SECRET, atOnce: CONNECTING_AT_ONCE, timeoutMs: CONNECT_TIMEOUT_MS })
  const connecting = cpuSince(beforeConnecting, cpuOf(server.child.pid))
  const stop = async () => {
    for (const child of [client, publisher, server.child]) await child.stop()
  }
  if (connected < subscribers) {
    await stop()
    return { notConnected: `did not connect ${subscribers} in ${CONNECT_TIMEOUT_MS / 1000} s, but ${connected}` }
  }
  const after = await weigh()

  const publish = async (from: number, seconds: number) => {
    const events = Math.round(seconds * perSecond)
    const { lateMsMax } = await publisher.call('publish', { url: nats.url, subject: subjectOf(protocol), idField: protocol.idField, from, events, perSecond, dataBytes: payloadBytes })
    await client.call('arrival', from + events - 1, ARRIVAL_TIMEOUT_MS)
    return { last: from + events - 1, lateMsMax }
  }
  progress(`${label}: warming up for ${load.warmupSeconds} s`)
  const { last: warm } = await publish(1, load.warmupSeconds)
  await client.call('record')
  progress(`${label}: measuring for ${load.seconds} s`)
  const used = () => ({ server: cpuOf(server.child.pid), clientUs: totalOf(cpuOf(client.pid)), othersUs: othersCpuUs(), us: monotonicUs() })
  const start = used()
  const { last, lateMsMax } = await publish(warm + 1, load.seconds)
  const end = used()
  const tally: Tally = await client.call('tally', last)

  await stop()
  const delivering = cpuSince(start.server, end.server)
  return {
    cpuUs: totalOf(delivering) / tally.deliveries,
    cpuUserUs: delivering.userUs / tally.deliveries,
    cpuSystemUs: delivering.systemUs / tally.deliveries,
    handshakeUs: totalOf(connecting) / subscribers,
    handshakeUserUs: connecting.userUs / subscribers,
    connectionBytes: (after.residentBytes - before.residentBytes) / subscribers,
    connectionHeapBytes: (after.heap.usedBytes - before.heap.usedBytes) / subscribers,
    connectionYoungBytes: (after.heap.youngBytes - before.heap.youngBytes) / subscribers,
    ...tally,
    clientBusy: (end.clientUs - start.clientUs) / (end.us - start.us),
    othersBusy: Math.max(0, end.othersUs - start.othersUs) / (end.us - start.us),
    lateMsMax,
  }
}

/** CPU time of everything on the machine that is not the bench. */
function othersCpuUs(): number {
  return [process.pid, ...childPids()].reduce((left, pid) => left - totalOf(cpuOf(pid)), machineCpuUs())
}

function cpuSince(start: Cpu, end: Cpu): Cpu {
  return { userUs: end.userUs - start.userUs, systemUs: end.systemUs - start.systemUs }
}

function totalOf({ userUs, systemUs }: Cpu): number {
  return userUs + systemUs
}

function script<T extends Calls<T>>(path: string, cores: Pinning | undefined): Child<T> {
  const file = fileURLToPath(new URL(path, import.meta.url))
  return new Child<T>({ name: path, command: process.execPath, args: ['--import=tsx', file], core: cores?.rest })
}
