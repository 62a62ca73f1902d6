import type { FaultProxy, Side } from './fault-proxy.ts'
import { STREAM } from './nats-cluster.ts'
import type { Fault } from './plan.ts'
import { signal } from './processes.ts'
import type { Kind } from './schedules.ts'
import type { Stage } from './stage.ts'

const LITTLE_BYTES_PER_SECOND = 30_000
const LITTLE_NATS_BYTES_PER_SECOND = 100_000
const STARTS_MS = 3_000
const CLUSTER_SETTLES_MS = 20_000

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const pick = <T>(all: readonly T[], part: number): T => all[Math.floor(part * all.length)] as T

/** Carries out a fault, and ends it. */
export async function carryOut(fault: Fault, stage: Stage): Promise<void> {
  await ACTIONS[fault.kind](fault, stage)
}

type Action = (fault: Fault, stage: Stage) => Promise<void>

const ACTIONS: Readonly<Record<Kind, Action>> = {
  'broker-kill': (fault, stage) => endBroker(fault, stage, 'SIGKILL'),
  'broker-drain': (fault, stage) => endBroker(fault, stage, 'SIGTERM'),
  async 'broker-stop'({ which, lastsMs }, { brokers }) {
    const broker = pick(brokers, which)
    broker.pause()
    await pause(lastsMs)
    broker.resume()
  },
  async 'worker-kill'({ which }, { brokers }) {
    const workers = (brokers[0] as (typeof brokers)[0]).workers()
    if (workers.length > 0) signal(pick(workers, which), 'SIGKILL')
  },
  async 'worker-stop'({ which, lastsMs }, { brokers }) {
    const workers = (brokers[0] as (typeof brokers)[0]).workers()
    if (workers.length === 0) return
    const worker = pick(workers, which)
    signal(worker, 'SIGSTOP')
    await pause(lastsMs)
    signal(worker, 'SIGCONT')
  },
  async 'nats-kill'({ lastsMs }, { nats: { nodes } }) {
    await Promise.all(nodes.map((node) => node.end('SIGKILL')))
    await pause(lastsMs)
    await Promise.all(nodes.map((node) => node.start()))
  },
  async 'nats-stop'({ lastsMs }, { nats: { nodes } }) {
    for (const node of nodes) node.pause()
    await pause(lastsMs)
    for (const node of nodes) node.resume()
  },
  async 'nats-wipe'({ lagMs, lastsMs }, { nats: { nodes }, natsProxies }) {
    await behindBy(lagMs, natsProxies, async () => {
      await Promise.all(nodes.map((node) => node.end('SIGKILL')))
      for (const node of nodes) node.wipe()
      await pause(lastsMs)
      await Promise.all(nodes.map((node) => node.start()))
    })
  },
  async 'stream-delete'({ lagMs }, { nats, natsProxies }) {
    const jsm = await nats.manager()
    await behindBy(lagMs, natsProxies, async () => void (await jsm.streams.delete(STREAM).catch(() => {})))
  },
  async 'stream-purge'({ lagMs }, { nats, natsProxies }) {
    const jsm = await nats.manager()
    await behindBy(lagMs, natsProxies, async () => void (await jsm.streams.purge(STREAM).catch(() => {})))
  },
  async 'consumer-delete'(_fault, { nats }) {
    const jsm = await nats.manager()
    const names: string[] = []
    const gather = async () => {
      for await (const { name } of jsm.consumers.list(STREAM)) names.push(name)
    }
    await gather().catch(() => {})
    for (const name of names) await jsm.consumers.delete(STREAM, name).catch(() => {})
  },
  async 'cut-clients'(fault, { clientProxies }) {
    for (const proxy of some(clientProxies, fault)) proxy.cut()
  },
  'stall-clients': (fault, { clientProxies }) => during(fault, some(clientProxies, fault), (proxy) => proxy.stall()),
  'throttle-clients': (fault, { clientProxies }) =>
    during(fault, some(clientProxies, fault), (proxy) => proxy.throttle(LITTLE_BYTES_PER_SECOND)),
  'refuse-clients': (fault, { clientProxies }) =>
    during(fault, some(clientProxies, fault), (proxy) => {
      proxy.refuse()
      proxy.cut()
    }),
  async 'half-open-clients'(fault, { clientProxies }) {
    for (const proxy of some(clientProxies, fault)) proxy.halfOpen(sideOf(fault))
    await pause(fault.lastsMs)
  },
  async 'cut-nats'(fault, { natsProxies }) {
    for (const proxy of some(natsProxies, fault)) proxy.cut()
  },
  'stall-nats': (fault, { natsProxies }) => during(fault, some(natsProxies, fault), (proxy) => proxy.stall()),
  'throttle-nats': (fault, { natsProxies }) =>
    during(fault, some(natsProxies, fault), (proxy) => proxy.throttle(LITTLE_NATS_BYTES_PER_SECOND)),
  async 'half-open-nats'(fault, { natsProxies }) {
    for (const proxy of some(natsProxies, fault)) proxy.halfOpen(sideOf(fault))
    await pause(fault.lastsMs)
  },
  async 'leader-kill'({ lastsMs }, { nats }) {
    await restartNode(stageNode(await nats.leader().catch(() => undefined), nats), lastsMs, nats, 'SIGKILL')
  },
  async 'follower-kill'({ which, lastsMs }, { nats }) {
    const leader = await nats.leader().catch(() => undefined)
    await restartNode(
      pick(
        nats.nodes.filter((node) => node !== leader),
        which,
      ),
      lastsMs,
      nats,
      'SIGKILL',
    )
  },
  async 'quorum-loss'({ which, lastsMs }, { nats }) {
    const spared = pick(nats.nodes, which)
    const killed = nats.nodes.filter((node) => node !== spared)
    await Promise.all(killed.map((node) => node.end('SIGKILL')))
    await pause(lastsMs)
    await Promise.all(killed.map((node) => node.start()))
    await nats.settled(CLUSTER_SETTLES_MS).catch(() => {})
  },
  async 'node-restart'({ which, lastsMs }, { nats }) {
    await restartNode(pick(nats.nodes, which), lastsMs, nats, 'SIGTERM')
  },
}

async function endBroker({ which, lastsMs }: Fault, { brokers }: Stage, how: NodeJS.Signals): Promise<void> {
  const broker = pick(brokers, which)
  await broker.end(how)
  await pause(lastsMs)
  // Without NATS it cannot start: another lane's faults have to end for that.
  await Promise.race([broker.start().catch(() => {}), pause(STARTS_MS)])
}

/**
 * Before something is done to NATS, brokers hear nothing from it for a while: what is published meanwhile they have not
 * read.
 */
async function behindBy(lagMs: number, proxies: readonly FaultProxy[], act: () => Promise<void>): Promise<void> {
  if (lagMs > 0) for (const proxy of proxies) proxy.stall()
  await pause(lagMs)
  await act()
  for (const proxy of proxies) proxy.heal()
}

async function during(
  { lastsMs }: Fault,
  proxies: readonly FaultProxy[],
  act: (proxy: FaultProxy) => void,
): Promise<void> {
  for (const proxy of proxies) act(proxy)
  await pause(lastsMs)
  for (const proxy of proxies) proxy.heal()
}

/** A share of them, at least one: those from a random one on. */
function some<T>(all: readonly T[], { which, share }: Fault): T[] {
  const from = Math.floor(which * all.length)
  return Array.from(
    { length: Math.max(1, Math.round(share * all.length)) },
    (_, i) => all[(from + i) % all.length] as T,
  )
}

function sideOf({ which }: Fault): Side {
  return which * 10 - Math.floor(which * 10) < 0.5 ? 'client' : 'server'
}

type Cluster = Stage['nats']

function stageNode(leader: Cluster['nodes'][number] | undefined, { nodes }: Cluster): Cluster['nodes'][number] {
  return leader ?? (nodes[0] as Cluster['nodes'][number])
}

/** The next fault waits until the cluster has it back: otherwise two of three could be gone. */
async function restartNode(
  node: Cluster['nodes'][number],
  lastsMs: number,
  nats: Cluster,
  how: NodeJS.Signals,
): Promise<void> {
  await node.end(how)
  await pause(lastsMs)
  await node.start()
  await nats.settled(CLUSTER_SETTLES_MS).catch(() => {})
}
