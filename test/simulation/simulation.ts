import { onFault } from '../../src/guarded.ts'
import { type Client, RawClient } from './clients.ts'
import { Fault } from './oracle.ts'
import { Random, Schedule } from './schedule.ts'
import { SocketIoClient } from './socketio-client.ts'
import { BACKPRESSURE_BYTES, CONVERSATIONS, USERS, World } from './world.ts'

const CLIENTS_MAX = 8
/** Turns of the event loop after which everything must have gone out. */
const CALM_TURNS = 3_000

export interface Outcome {
  readonly seed: number
  readonly steps: number
  /** What was done, the last at the end. */
  readonly done: readonly string[]
  /** Undefined: it held. */
  readonly fault: unknown
}

/** Each seed likes some faults more than others, so that a run is not of everything a little. */
type Likes = Readonly<Record<string, number>>

/**
 * Runs one schedule: so many steps as the seed picks them, then calm, then the verdict.
 * @param tell hears of each step
 */
export async function simulate(seed: number, steps: number, tell: (step: string) => void = () => {}): Promise<Outcome> {
  const schedule = new Schedule()
  const done: string[] = []
  schedule.install()
  let faulted: unknown
  const deaf = onFault((where, error) => {
    faulted ??= error instanceof Fault ? error : new Fault(`${where}: ${error instanceof Error ? error.stack : error}`)
  })
  try {
    const run = await Simulation.open(new Random(seed), schedule, done)
    for (let step = 0; step < steps; step++) {
      await run.step()
      tell(done.at(-1) ?? '')
      if (faulted !== undefined) throw faulted
    }
    await run.calm()
    if (faulted !== undefined) throw faulted
    run.check()
    return { seed, steps, done, fault: undefined }
  } catch (fault) {
    return { seed, steps, done, fault: faulted ?? fault }
  } finally {
    deaf()
    schedule.uninstall()
  }
}

/** The same seed with fewer steps, as few as still fail. */
export async function shrink(failed: Outcome): Promise<Outcome> {
  let least = failed
  for (let part = 2; part <= 64; part *= 2) {
    for (;;) {
      const fewer = await simulate(failed.seed, Math.floor(least.steps * (1 - 1 / part)))
      if (fewer.fault === undefined || fewer.steps === least.steps) break
      least = fewer
    }
  }
  return least
}

class Simulation {
  private readonly random: Random
  private readonly schedule: Schedule
  private readonly world: World
  private readonly done: string[]
  private readonly clients: Client[]
  private readonly likes: Likes
  /** What the step does, in detail. */
  private current = ''

  static async open(random: Random, schedule: Schedule, done: string[]): Promise<Simulation> {
    return new Simulation(random, schedule, await World.open(random, schedule), done)
  }

  private constructor(random: Random, schedule: Schedule, world: World, done: string[]) {
    this.random = random
    this.schedule = schedule
    this.world = world
    this.done = done
    this.clients = Array.from({ length: 1 + random.below(CLIENTS_MAX) }, (_, at) =>
      random.chance(0.5)
        ? new RawClient(world, `raw client ${at}`)
        : new SocketIoClient(world, `Socket.IO client ${at}`),
    )
    world.clients = this.clients
    this.likes = Object.fromEntries(
      Object.entries(WEIGHTS).map(([name, weight]) => [
        name,
        weight * (random.chance(0.3) ? 0 : 4 ** (random.next() * 2 - 1)),
      ]),
    )
  }

  /** One thing happens; the event loop turns, or has more to do first: what was published is still held then. */
  async step(): Promise<void> {
    const names = Object.keys(WEIGHTS) as (keyof typeof WEIGHTS)[]
    let at = this.random.next() * names.reduce((sum, name) => sum + (this.likes[name] as number), 0)
    const name = names.find((each) => (at -= this.likes[each] as number) < 0) ?? 'publish'
    const before = `${this.world.stored.length}`
    this.current = ''
    await this.act(name)
    const { log, hub } = this.world
    this.done.push(`${name}${this.current} [stored ${before}, head ${log.headSeq}, live ${hub.liveSeq}]`)
    if (this.random.chance(0.3)) await this.schedule.settle()
    else await this.turn()
  }

  /** Everything is well again, until nothing is on its way. */
  async calm(): Promise<void> {
    const { world, schedule } = this
    world.source.connected = true
    for (const participation of world.unheard.splice(0)) world.hear(participation)
    for (let turn = 0, quiet = 0; quiet < 30; turn++) {
      if (turn === CALM_TURNS) throw new Fault('it does not come to rest')
      const before = this.progress
      world.source.deliver()
      for (const answer of world.source.questions.splice(0)) answer()
      for (const client of this.clients) client.take(Number.POSITIVE_INFINITY)
      schedule.pass(100)
      await this.turn()
      quiet = !world.source.readable && world.source.questions.length === 0 && before === this.progress ? quiet + 1 : 0
    }
  }

  /** Changes while anything moves. */
  private get progress(): string {
    const { log, hub } = this.world
    return [log.headSeq, hub.liveSeq, ...[...hub.catchUp.subscribers].map(({ cursor }) => cursor)].join()
  }

  check(): void {
    const { catchUp, liveSeq } = this.world.hub
    // Who has events that this broker has yet to read waits for them; the stream may have forgotten all up to there.
    const stuck = [...catchUp.subscribers].filter(
      ({ mayBeLive, cursor, startOffsetMax }) => (mayBeLive && startOffsetMax <= liveSeq) || cursor < liveSeq,
    )
    if (stuck.length > 0)
      throw new Fault(
        `behind for ever, at ${liveSeq}: ${stuck.map(({ id, cursor, queued, startOffsetMax, mayBeLive }) => JSON.stringify({ id, cursor, queued, startOffsetMax, mayBeLive }))}`,
      )
    for (const client of this.clients) client.check()
  }

  /** uWS writes what is held before or after what was to run in this turn, and before the next. */
  private async turn(): Promise<void> {
    const { world, schedule, random } = this
    const early = random.chance(0.5)
    await schedule.settle()
    if (early) world.app.flush()
    schedule.runImmediates()
    await schedule.settle()
    world.app.flush()
    if (world.failed !== undefined) throw world.failed
    for (const client of this.clients) client.look()
  }

  /** A live client's socket is full, and it goes back in the log while uWS holds for it what will be dropped. */
  private async rush(): Promise<void> {
    const { random, world, schedule } = this
    const { source } = world
    const client = random.of(
      this.clients.filter((each): each is RawClient => each instanceof RawClient && each.liveRooms.length > 0),
    )
    if (client === undefined || source.cutShort) return
    this.current = `, ${client.name}`
    client.stall()
    // Over its limit by one event, it is live until the next is dropped.
    world.store(random.of(client.liveRooms), 2 * BACKPRESSURE_BYTES)
    source.deliver()
    await this.turn()
    const room = random.of(client.liveRooms)
    if (room === undefined) return
    const asked = random.chance(0.5)
    if (asked) this.current += client.goBack()
    world.store(room)
    source.deliver()
    if (!asked) this.current += client.goBack()
    // What the command asks the stream for comes right behind the events.
    await schedule.settle()
    for (const answer of source.questions.splice(0)) answer()
    await schedule.settle()
  }

  private act(name: keyof typeof WEIGHTS): void | Promise<void> {
    const { random, world, schedule } = this
    const { source } = world
    const client = random.of(this.clients) as Client
    if (['connect', 'disconnect', 'act', 'stall', 'take'].includes(name)) this.current = `, ${client.name}`
    switch (name) {
      case 'publish':
        if (!source.cutShort)
          for (let n = random.chance(0.1) ? random.below(60) : 1 + random.below(4); n > 0; n--) world.store()
        return
      case 'deliver':
        return source.deliver(random.chance(0.5) ? Number.POSITIVE_INFINITY : random.below(6))
      case 'answer':
        return source.questions.splice(random.below(source.questions.length), 1)[0]?.()
      case 'connect':
        return client.connected ? undefined : void (this.current += client.connect())
      case 'disconnect':
        return client.disconnect()
      case 'act':
        this.current += client.connected ? client.act() : client.connect()
        return
      case 'stall':
        return client.stall()
      case 'take':
        return client.take(random.chance(0.3) ? Number.POSITIVE_INFINITY : random.below(3_000))
      case 'rush':
        return this.rush()
      case 'beat':
        world.beatSeq = world.hub.liveSeq
        world.hub.publishedElsewhere()
        return world.app.publish('beat', Buffer.from('2'))
      case 'pass':
        return schedule.pass(random.below(700))
      case 'sweep':
        world.hub.sweep(0)
        return world.recovery.sweep()
      case 'participate':
        return world.participate(random.of(CONVERSATIONS) as string, random.of(USERS) as string, random.chance(0.3))
      case 'hear':
        return world.unheard[0] && world.hear(world.unheard.shift() as never)
      case 'outage':
        source.connected = !source.connected
        return
      case 'short read':
        source.failures++
        return
      case 'delete one':
        source.remove(source.firstSeq + random.below(source.messages.length))
        return world.deleted()
      case 'trim':
        source.trim(source.firstSeq + random.below(source.messages.length + 1))
        return world.lost()
      case 'cut short':
        source.cut(source.lastSeq - random.below(6))
        return world.cut()
      case 'renew':
        source.renew()
        if (random.chance(0.5)) world.bucket.lose()
        return world.lost()
    }
  }
}

const WEIGHTS = {
  publish: 30,
  deliver: 30,
  answer: 12,
  connect: 8,
  disconnect: 2,
  act: 12,
  stall: 5,
  take: 8,
  rush: 3,
  beat: 2,
  pass: 6,
  sweep: 1,
  participate: 1,
  hear: 1,
  outage: 1,
  'short read': 1,
  'delete one': 1,
  trim: 1,
  'cut short': 0.5,
  renew: 0.5,
}
