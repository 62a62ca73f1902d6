import { parsePosition, type Position } from '../../src/log/position.ts'

/** What was stored, whatever became of it. */
export interface Stored {
  /** Counts all events that were ever stored, over all lives of the stream. */
  readonly n: number
  readonly epoch: string
  readonly seq: number
  readonly rooms: readonly string[]
  readonly color: string
  readonly user: string | undefined
  readonly conversation: string | undefined
  readonly latestKey: string | undefined
  /** When the stream lost it; losses are counted. Undefined: it has it. */
  gone: number | undefined
  /** It alone was deleted, which nobody is told of: who has yet to get it does not. */
  deleted: boolean
  /** The broker read it while it was there. */
  read: boolean
}

/** Events whose frames uWS may hold at once. */
const HELD_MAX = 64

export class Fault extends Error {}

export const VIEW_ROOM = 'everything'

/** From where on a client is to get a room's events: those stored later, and those behind a position. */
interface Membership {
  readonly afterN: number
  readonly since: Position | undefined
  readonly color: string | undefined
  /** What was lost by then is not owed: the command had yet to be carried out. Counts losses. */
  readonly asOf: number
}

interface Told {
  readonly since: Position
  readonly oldest: Position | undefined
  readonly atN: number
}

/** A client asked to go back behind a position; where rooms are named, for their events once more. */
interface Replay {
  readonly since: Position
  readonly rooms: readonly string[]
}

/** What one client is to get, and what it got: in order, once, and nothing missing unless told. */
export class Watch {
  readonly name: string
  readonly user: string
  readonly rooms = new Map<string, Membership>()
  last: Stored | undefined
  readonly told: Told[] = []
  private readonly stored: readonly Stored[]
  private readonly participates: (conversation: string, user: string) => number | undefined
  private readonly ever = new Map<string, Set<string | undefined>>()
  private readonly got = new Map<string, number>()
  private lastN = -1
  private newestN = -1
  private replays: Replay[] = []
  /** Replays that it asked for: what they name may come once more for each. */
  private readonly again: Replay[] = []

  constructor(
    name: string,
    user: string,
    stored: readonly Stored[],
    participates: (conversation: string, user: string) => number | undefined,
  ) {
    this.name = name
    this.user = user
    this.stored = stored
    this.participates = participates
  }

  /**
   * Whether a client that comes back may go on behind the last event that it got: nothing older is on its way to it.
   */
  get steady(): boolean {
    return this.replays.length === 0 && this.lastN === this.newestN
  }

  join(room: string, color: string | undefined): void {
    const [before, newest] = [this.rooms.get(room), this.stored.at(-1)]
    // It has said that it has events which are yet to be stored, or to be read: they do not come.
    const ahead =
      before?.since !== undefined &&
      before.since.epoch === newest?.epoch &&
      (before.since.seq > newest.seq || this.isUnread(before.since))
    this.enter(
      room,
      ahead ? { ...before, color } : { afterN: this.stored.length - 1, since: undefined, color, asOf: 0 },
    )
  }

  /** Whether the event at a position is one that the broker has yet to read: it does not know what a cut takes away. */
  private isUnread({ epoch, seq }: Position): boolean {
    return this.stored.some(
      (event) => event.epoch === epoch && event.seq === seq && !event.read && event.gone === undefined,
    )
  }

  joinSince(rooms: readonly string[], color: string | undefined, since: Position): void {
    const replay = { since, rooms }
    this.replays.push(replay)
    this.again.push(replay)
    for (const room of rooms)
      this.enter(room, { afterN: this.stored.length - 1, since, color, asOf: Number.POSITIVE_INFINITY })
  }

  /** It comes back, and goes on behind a position in all its rooms. */
  resume(since: Position): void {
    for (const [room, { color }] of this.rooms)
      this.rooms.set(room, { afterN: this.stored.length - 1, since, color, asOf: Number.POSITIVE_INFINITY })
  }

  /** Its command to join since a position was carried out. @param losses so far */
  carriedOut(rooms: Iterable<string>, losses: number): void {
    for (const room of rooms) {
      const membership = this.rooms.get(room)
      if (membership?.asOf === Number.POSITIVE_INFINITY) this.rooms.set(room, { ...membership, asOf: losses })
    }
  }

  leave(room: string): void {
    this.rooms.delete(room)
  }

  /** Events of before may come now, in their order. */
  mayGoBack(since: Position): void {
    this.replays.push({ since, rooms: [] })
  }

  /** It has all that is on its way to it: from now on nothing older may come. */
  caughtUp(): void {
    this.replays = []
  }

  tell(since: string, oldest: string | null): void {
    const position = parsePosition(since)
    if (!position) throw new Fault(`${this.name} was told nonsense: ${since}`)
    const from = oldest === null ? undefined : parsePosition(oldest)
    this.told.push({ since: position, oldest: from, atN: this.stored.length - 1 })
    if (from) this.mayGoBack({ epoch: from.epoch, seq: from.seq - 1 })
  }

  receive(n: number, view: boolean, position: string): void {
    const event = this.stored[n]
    if (event === undefined || position !== `${event.epoch}-${event.seq}`)
      throw new Fault(`${this.name} got ${position} as the position of event ${n}`)
    const allowed = view
      ? this.ever.has(VIEW_ROOM)
      : this.isFor(event) &&
        event.rooms.some((room) =>
          [...(this.ever.get(room) ?? [])].some((color) => color === undefined || color === event.color),
        )
    if (!allowed) throw new Fault(`${this.name} got ${this.describe(event)}, which is not for it`)
    const key = `${n}${view}`
    const count = (this.got.get(key) ?? 0) + 1
    this.got.set(key, count)
    const asked = this.again.filter(
      ({ since, rooms }) =>
        since.epoch === event.epoch &&
        since.seq < event.seq &&
        (view || event.rooms.some((room) => rooms.includes(room))),
    ).length
    if (count > 1 + asked) throw new Fault(`${this.name} got ${this.describe(event)} ${count} times`)
    if (n < this.lastN) {
      // The nearest that explains it: others go back further, and may be yet to come.
      const at = this.replays.reduce(
        (best, { since }, index) =>
          since.epoch === event.epoch && since.seq < event.seq && since.seq > (this.replays[best]?.since.seq ?? -1)
            ? index
            : best,
        -1,
      )
      if (at === -1) throw new Fault(`${this.name} got ${this.describe(event)} behind event ${this.lastN}`)
      this.replays.splice(at, 1)
    }
    this.lastN = n
    this.newestN = Math.max(n, this.newestN)
    this.last = event
  }

  /** The simulation is over, and everything has gone out. */
  check(): void {
    for (const event of this.stored) {
      if (event.deleted || (event.gone !== undefined && !event.read)) continue
      const views = this.rooms.get(VIEW_ROOM)
      if (views && isOf(views, event) && !this.got.has(`${event.n}true`) && !this.isSkippable(event)) this.miss(event)
      const wanted =
        this.isFor(event) &&
        event.rooms.some((room) => {
          const membership = this.rooms.get(room)
          return (
            membership !== undefined &&
            isOf(membership, event) &&
            (membership.color === undefined || membership.color === event.color)
          )
        })
      if (wanted && !this.got.has(`${event.n}false`) && this.isOwed(event)) this.miss(event)
    }
  }

  private enter(room: string, membership: Membership): void {
    this.rooms.delete(room)
    this.rooms.set(room, membership)
    const colors = this.ever.get(room) ?? new Set()
    this.ever.set(room, colors.add(membership.color))
  }

  private miss(event: Stored): void {
    const excused = this.told.some((told) => covers(told, event))
    if (!excused)
      throw new Fault(
        `${this.name} never got ${this.describe(event)}, and was not told; told ${JSON.stringify(this.told)}; rooms ${JSON.stringify([...this.rooms])}`,
      )
  }

  private isFor({ user, conversation }: Stored): boolean {
    if (user !== undefined) return user === this.user
    return conversation === undefined || this.participates(conversation, this.user) !== undefined
  }

  /** Not if it took part in its conversation only later, or a newer one of its key makes it skippable. */
  private isOwed(event: Stored): boolean {
    const { n, conversation } = event
    return (
      !this.isSkippable(event) &&
      (conversation === undefined || n > (this.participates(conversation, this.user) ?? Number.POSITIVE_INFINITY))
    )
  }

  private isSkippable({ n, latestKey }: Stored): boolean {
    return latestKey !== undefined && this.stored.some((other) => other.n > n && other.latestKey === latestKey)
  }

  private describe({ n, epoch, seq, rooms, color, user, conversation, latestKey, gone }: Stored): string {
    return `event ${n} (${epoch}-${seq} of ${rooms}, ${color}${user ? `, for ${user}` : ''}${conversation ? `, in ${conversation}` : ''}${latestKey ? ', latest' : ''}${gone === undefined ? '' : ', gone'})`
  }
}

function isOf({ afterN, since, asOf }: Membership, { n, epoch, seq, gone }: Stored): boolean {
  if (gone !== undefined && gone <= asOf && n <= afterN) return false
  return since?.epoch === epoch ? seq > since.seq : n > afterN
}

/** Whether what a client was told means that it does not get an event. */
function covers({ since, oldest, atN }: Told, { epoch, seq, gone, n }: Stored): boolean {
  if (since.epoch !== epoch || n > atN) return false
  if (gone === undefined && oldest?.epoch === epoch && seq >= oldest.seq) return false
  // A position ahead of what there is says nothing of what the client has.
  if (oldest?.epoch === epoch && oldest.seq <= since.seq) return true
  // Frames that uWS drops in the very turn of a reset are lost before what is told then.
  return seq > (gone === undefined ? since.seq : since.seq - HELD_MAX)
}
