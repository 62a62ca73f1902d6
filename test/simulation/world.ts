import { Recovery } from '../../src/state/recovery.ts'
import { Hub } from '../../src/hub/hub.ts'
import { ApplicationRooms } from '../../src/hub/room.ts'
import type { Subscriber } from '../../src/hub/subscriber.ts'
import { Projection } from '../../src/hub/projection.ts'
import type { Wire } from '../../src/hub/wire.ts'
import { LogEntry } from '../../src/log/entry.ts'
import { EventLog } from '../../src/log/event-log.ts'
import type { StoredMessage } from '../../src/log/event.ts'
import { parsePosition, type Position } from '../../src/log/position.ts'
import { Meters } from '../../src/meters.ts'
import { ModelApp } from './model-app.ts'
import { ModelBucket } from './model-bucket.ts'
import { ModelSource } from './model-source.ts'
import { Fault, type Stored, VIEW_ROOM } from './oracle.ts'
import type { Random, Schedule } from './schedule.ts'

export const ROOMS = ['a', 'b', 'c', 'd']
export const COLORS = ['red', 'green', 'blue']
export const USERS = ['ann', 'bob', 'cat']
export const CONVERSATIONS = ['c1', 'c2']
/** Unsent bytes over which a socket drops. */
export const BACKPRESSURE_BYTES = 4_000
/** uWebSockets.js sends such a frame at once. */
const LARGE_BYTES = 16_384
const RING_EVENTS = [4, 16, 64, 1_000]

interface Participation {
  readonly conversation: string
  readonly user: string
  readonly since: string
  readonly sinceSeq: number
  /** The stream was cut short before that, and has other events there. */
  cut: boolean
}

/** A broker's log, hub and recovery over a stream, sockets and a bucket in memory, and what was ever stored. */
export class World {
  readonly random: Random
  readonly schedule: Schedule
  readonly source = new ModelSource()
  readonly bucket = new ModelBucket(() => this.source.connected)
  readonly app = new ModelApp()
  readonly stored: Stored[] = []
  /** Participations that are stored, and that this broker has yet to hear of. */
  readonly unheard: Participation[] = []
  application = this.makeApplication()
  log: EventLog
  hub: Hub
  /** The newest event that was published before the last heartbeat. */
  beatSeq = 0
  /** Clients whose users may come to take part in conversations. */
  clients: readonly { mayGoBack(user: string, since: Position): void }[] = []
  /** How often the stream lost something. */
  losses = 0
  /** What went wrong where nobody waits for it. */
  failed: unknown
  private opened: Recovery | undefined
  private readonly takesPart = new Map<string, string[]>()
  private readonly takesPartAfterN = new Map<string, number>()

  static async open(random: Random, schedule: Schedule): Promise<World> {
    const world = new World(random, schedule)
    await world.start()
    return world
  }

  private constructor(random: Random, schedule: Schedule) {
    this.random = random
    this.schedule = schedule
    this.log = this.makeLog()
    this.hub = this.makeHub()
  }

  get recovery(): Recovery {
    if (this.opened === undefined) throw new Fault('the broker has not started')
    return this.opened
  }

  /** Another broker on the same stream takes the place of this one. */
  async restart(): Promise<void> {
    await this.log.stop()
    this.application = this.makeApplication()
    this.log = this.makeLog()
    this.hub = this.makeHub()
    for (const { conversation, user } of this.unheard.splice(0)) this.note(conversation, user)
    await this.start()
  }

  /** A namespace's wire is made anew each time: two objects may be one wire. */
  wire(id: string): Wire {
    return {
      id,
      format: 'json',
      binary: false,
      encodeEvent: ({ type, data }, position) =>
        Buffer.from(`${id} ${type} ${data.n} ${'x'.repeat(data.pad as number)}["${position}"]`),
      encodeMessage: ({ type }) => Buffer.from(type),
      publish: (topic, frame) => this.app.publish(topic, frame),
    }
  }

  private pad(): number {
    const { random } = this
    if (random.chance(0.03)) return LARGE_BYTES
    return random.below(random.chance(0.1) ? 2 * BACKPRESSURE_BYTES : 200)
  }

  /** @param room in this one, and so many bytes larger; otherwise as it comes */
  store(room?: string, pad?: number): void {
    const { random, source } = this
    const rooms =
      room !== undefined ? [room] : random.chance(0.6) ? [random.of(ROOMS) as string] : random.some(ROOMS, 0.6)
    const one = random.below(20)
    const event = {
      n: this.stored.length,
      pad: pad ?? this.pad(),
      rooms,
      color: random.of(COLORS) as string,
      user: one === 0 ? random.of(USERS) : undefined,
      conversation: one === 1 || one === 2 ? random.of(CONVERSATIONS) : undefined,
      latestKey: one === 3 ? `${random.below(2)} ${rooms}` : undefined,
    }
    // As large as its frame: the hub goes by that.
    const body = event.pad < LARGE_BYTES ? event : { ...event, filler: 'x'.repeat(event.pad) }
    const seq = source.store('events.app.thing', JSON.stringify(body), this.schedule.nowMs)
    this.stored.push({
      ...event,
      epoch: source.epoch,
      seq,
      gone: undefined,
      deleted: false,
      read: false,
      latestKey: event.latestKey && `${event.latestKey} ${event.color}`,
    })
  }

  /** What the stream no longer has is gone. */
  lost(): void {
    const { source } = this
    const there = new Set(
      source.messages.map(({ body }) => (JSON.parse(Buffer.from(body).toString()) as { n: number }).n),
    )
    this.losses++
    for (const event of this.stored) if (!there.has(event.n)) event.gone ??= this.losses
  }

  /** The stream ends earlier now. */
  cut(): void {
    for (const participation of this.unheard) participation.cut ||= participation.sinceSeq > this.source.lastSeq
    this.lost()
  }

  /** One was deleted: nobody is told of that. */
  deleted(): void {
    const there = new Set(this.stored.filter(({ gone }) => gone === undefined))
    this.lost()
    for (const event of there) if (event.gone !== undefined) event.deleted = true
  }

  /** Somebody sent a message in a conversation; this broker, or all, hear of it now or later. */
  participate(conversation: string, user: string, now: boolean): void {
    const key = `${conversation} ${user}`
    if (this.takesPartAfterN.has(key)) return
    this.takesPartAfterN.set(key, this.stored.length - 1)
    const participation = {
      conversation,
      user,
      since: this.log.position(this.log.headSeq),
      sinceSeq: this.log.headSeq,
      cut: this.log.headSeq > this.source.lastSeq,
    }
    if (now) this.hear(participation)
    else this.unheard.push(participation)
  }

  hear({ conversation, user, since, cut }: Participation): void {
    this.note(conversation, user)
    const position = parsePosition(since)
    if (position?.epoch === this.log.epoch) {
      for (const client of this.clients) client.mayGoBack(user, position)
      this.hub.participates(this.application, conversation, user, position.seq)
      // The sequences behind which it takes part are other events' now: those up to here may be missing.
      if (cut) this.takesPartAfterN.set(`${conversation} ${user}`, this.stored.length - 1)
    } else this.takesPartAfterN.set(`${conversation} ${user}`, this.stored.length - 1)
  }

  /** From behind which event on a user takes part in a conversation. */
  readonly participates = (conversation: string, user: string): number | undefined =>
    this.takesPartAfterN.get(`${conversation} ${user}`)

  private note(conversation: string, user: string): void {
    this.takesPart.set(conversation, [...(this.takesPart.get(conversation) ?? []), user])
  }

  private async start(): Promise<void> {
    this.source.prompt = true
    const started = this.hub.start()
    await this.schedule.settle()
    while (this.source.readable) this.source.deliver()
    await started
    this.opened = await Recovery.open({ ...this.source, keyValue: async () => this.bucket } as never, this.log)
    this.source.prompt = false
  }

  private makeApplication(): ApplicationRooms<Subscriber> {
    const application = new ApplicationRooms<Subscriber>(
      'app',
      (conversation) => this.takesPart.get(conversation) ?? [],
    )
    application.projection = new Projection(VIEW_ROOM, ({ data }) => ({ type: 'view', data }))
    return application
  }

  private makeLog(): EventLog {
    const ringEvents = this.random.of(RING_EVENTS) as number
    return new EventLog({
      source: this.source,
      ringEvents,
      ringBytes: 1_000_000,
      backfillBytes: 100_000,
      route: (message, position) => this.route(message, position),
    })
  }

  private makeHub(): Hub {
    const meters = new Meters((_, error) => {
      throw error
    })
    return new Hub(this.log, meters, { bufferBytes: BACKPRESSURE_BYTES / 4, stallMs: 30_000 })
  }

  private route(message: StoredMessage, position: string): LogEntry {
    const data = JSON.parse(Buffer.from(message.body).toString()) as Stored & { pad: number }
    const stored = this.stored[data.n] as Stored
    stored.read = true
    if (position !== `${stored.epoch}-${stored.seq}`)
      throw new Fault(`event ${data.n}, ${stored.epoch}-${stored.seq}, is read as ${position}`)
    const envelope = { type: 'event', data: { n: data.n, pad: data.pad }, timestamp: '' }
    const { rooms, user, conversation } = data
    const route = {
      application: this.application,
      type: 'thing',
      rooms,
      users: user === undefined ? undefined : [user],
      conversation,
      fieldValues: [[data.color]],
      latestKey: stored.latestKey,
    }
    return new LogEntry(message, position, route, envelope, () => envelope)
  }
}
