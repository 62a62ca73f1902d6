import type { TSchema } from 'typebox'
import { BrokerError, EXCERPT_MAX } from '../errors.ts'
import { type Clause, compilePredicate, valuesOf, type FieldValues, type Predicate } from '../hub/predicate.ts'
import { ApplicationRooms } from '../hub/room.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import { Projection } from '../hub/projection.ts'
import type { Route } from '../log/entry.ts'
import type { EventEnvelope } from '../log/event.ts'
import { LastValueCache, ENTITIES } from './last-values.ts'
import type { CommandContract, Contract, EventContract, RoomContract } from './contract.ts'
import type { Action } from './action.ts'
import { type Check, checkOf } from './faults.ts'
import { guardContract } from './guard-contract.ts'
import { roomPattern } from './patterns.ts'
import { type Claims, listClaim } from './claims.ts'

export interface CompiledCommand {
  readonly check: Check
  readonly action: Action
  readonly namespaces: readonly string[] | undefined
  readonly anonymous: boolean
  readonly allows: ((claims: Claims) => boolean) | undefined
  readonly inSession: boolean
  /** Checks the `data` of a service's reply. */
  readonly checkReply: Check
}

/** The users who take part in a conversation now; see state/participants.ts. */
export type ParticipantsOf = (app: string, conversation: string) => readonly string[]

const NONE: readonly string[] = []
const NO_CLAUSES: readonly Clause[] = []
const NO_VALUES: FieldValues = []

/**
 * A contract compiled at start-up: names are resolved and schemas compiled, so that routing an event is only function
 * calls.
 */
export class CompiledContract {
  readonly app: string
  readonly contract: Contract
  readonly application: ApplicationRooms<Subscriber>
  readonly lastValues = new LastValueCache()
  readonly commands: ReadonlyMap<string, CompiledCommand>
  readonly clientRequests: ReadonlyMap<string, Check>
  readonly eventChecks: ReadonlyMap<string, Check>
  private readonly fieldReaders: ((data: unknown) => unknown)[]
  private readonly filters = new Map<string, number>()
  private readonly names = new Map<string, readonly string[]>()
  private readonly rooms: readonly { pattern: RegExp; room: RoomContract }[]
  private readonly anyPresence: boolean

  /** @param given checked by `checkContract` */
  constructor(given: Contract, builtIn: Readonly<Record<string, CommandContract>>, participantsOf: ParticipantsOf) {
    const contract = guardContract(given)
    this.app = contract.app
    this.contract = contract
    this.application = new ApplicationRooms<Subscriber>(contract.app, (conversation) =>
      participantsOf(contract.app, conversation),
    )
    const { access = [], filters = {}, groups = {}, events, commands = {}, clientRequests = {} } = contract
    this.fieldReaders = access.map(({ read }) => read)
    for (const [name, { read }] of Object.entries(filters)) this.filters.set(name, this.fieldReaders.push(read) - 1)
    for (const type of Object.keys(events)) if (!events[type]?.rooms) this.names.set(type, [type])
    for (const [name, patterns] of Object.entries(groups))
      this.names.set(name, matching(Object.keys(events), patterns, name, contract.app))
    this.rooms = Object.entries(contract.rooms ?? {}).map(([pattern, room]) => ({
      pattern: roomPattern(pattern, contract.idPattern),
      room,
    }))
    this.anyPresence = this.rooms.some(({ room }) => room.presence)
    this.application.projection = projectionOf(contract)
    this.commands = new Map(
      Object.entries({ ...builtIn, ...commands }).map(([type, known]) => [
        type,
        compileCommand(known, `${contract.app}: commands["${type}"]`),
      ]),
    )
    const checksOf = (part: 'clientRequests' | 'events', of: Readonly<Record<string, { readonly schema?: TSchema }>>) =>
      new Map(
        Object.entries(of).map(([type, { schema }]) => [
          type,
          checkOf(schema, `${contract.app}: ${part}["${type}"].schema`),
        ]),
      )
    this.clientRequests = checksOf('clientRequests', clientRequests)
    this.eventChecks = checksOf('events', events)
  }

  event(type: string): EventContract | undefined {
    return Object.hasOwn(this.contract.events, type) ? this.contract.events[type] : undefined
  }

  /**
   * Decides where an event goes, and notes it in the last-value cache.
   * @param bytes the size of its body
   * @returns undefined if the contract has no such event
   */
  route(envelope: EventEnvelope, seq: number, bytes = 0): Route<ApplicationRooms<Subscriber>> | undefined {
    const event = this.event(envelope.type)
    if (event === undefined) return undefined
    const entity = event.entity?.(envelope)
    if (entity !== undefined) this.lastValues.note(ENTITIES, entity, null, envelope.timestamp, seq, 0)
    const lastValue = event.lastValue?.(envelope)
    if (lastValue !== undefined)
      this.lastValues.note(envelope.type, lastValue, envelope.data, envelope.timestamp, seq, bytes)
    const fieldValues =
      this.fieldReaders.length === 0 ? NO_VALUES : this.fieldReaders.map((of) => valuesOf(of(envelope.data)))
    const users = envelope.user_id === undefined ? undefined : [envelope.user_id]
    // Participants are looked up when the event goes out: a user may join the conversation while the event is in the
    // log.
    const conversation = users === undefined ? event.conversation?.(envelope.data) : undefined
    const rooms = roomsOf(event, envelope)
    return {
      application: this.application,
      type: envelope.type,
      rooms,
      users,
      conversation,
      fieldValues,
      latestKey: latestKeyOf(event, envelope, rooms, users ?? conversation, fieldValues),
    }
  }

  /** The rooms that an event goes to. @throws BrokerError INTERNAL if the contract has no such event */
  roomsOf(envelope: EventEnvelope): readonly string[] {
    const event = this.event(envelope.type)
    if (event === undefined) throw new BrokerError('INTERNAL')
    return roomsOf(event, envelope)
  }

  /** The event types that a name in `subscribe` stands for. @throws BrokerError UNKNOWN_EVENT */
  typesOf(name: string): readonly string[] {
    const types = this.names.get(name)
    if (!types)
      throw new BrokerError('UNKNOWN_EVENT', `There is no event or event group "${name.slice(0, 100)}"`, {
        event: name.slice(0, 100),
        known: [...this.names.keys()],
      })
    return types
  }

  /**
   * @throws BrokerError INVALID_ROOM if no pattern of the contract matches, ROOM_ACCESS_DENIED if the token does not
   * allow the room
   */
  checkRoom(claims: Claims, room: string): void {
    const {
      room: { allows, record },
      id,
    } = this.checkRoomName(room)
    if (claims.roles?.includes('admin') || (allows === undefined ? record === undefined : allows(claims, id))) return
    throw new BrokerError('ROOM_ACCESS_DENIED', `Access denied to room ${room.slice(0, EXCERPT_MAX)}`, { room })
  }

  mayBeIn(claims: Claims, room: string): boolean {
    try {
      this.checkRoom(claims, room)
      return true
    } catch {
      return false
    }
  }

  /** Whether a room is named after an event type; clients join such a room by subscribing to the event. */
  isEventRoom(room: string): boolean {
    const event = this.event(room)
    return event !== undefined && event.rooms === undefined
  }

  /** Whether a service's record may allow a room that the claims do not. */
  hasRecord(room: string): boolean {
    return this.rooms.some(({ pattern, room: { record } }) => record !== undefined && pattern.test(room))
  }

  /** @throws BrokerError INVALID_ROOM */
  checkRoomName(name: string): { room: RoomContract; id: string } {
    for (const { pattern, room } of this.rooms) {
      const match = pattern.exec(name)
      if (match !== null) return { room, id: match[1] ?? '' }
    }
    throw new BrokerError('INVALID_ROOM', undefined, { room: name.slice(0, EXCERPT_MAX) })
  }

  /** Whether the users in a room see each other join and leave. */
  hasPresence(name: string): boolean {
    return this.anyPresence && (this.rooms.find(({ pattern }) => pattern.test(name))?.room.presence ?? false)
  }

  /** The predicate for a client with these claims and filters. @throws BrokerError UNKNOWN_FILTER */
  predicate(claims: Claims, filters: Readonly<Record<string, unknown>>): Predicate | undefined {
    const clauses: Clause[] = []
    for (const [name, wanted] of Object.entries(filters)) {
      const field = this.filters.get(name)
      if (field === undefined)
        throw new BrokerError('UNKNOWN_FILTER', `There is no filter "${name.slice(0, 100)}"`, {
          filter: name.slice(0, 100),
          known: [...this.filters.keys()],
        })
      const allowed = valuesOf(wanted)
      if (allowed !== undefined) clauses.push({ field, allowed: new Set(allowed) })
    }
    return this.withAccess(claims, clauses)
  }

  /** The predicate for the same filters under other claims. */
  withAccess(claims: Claims, filters: readonly Clause[]): Predicate | undefined {
    return compilePredicate(this.accessOf(claims), filters)
  }

  private accessOf(claims: Claims): readonly Clause[] {
    const { access } = this.contract
    if (access === undefined || claims.roles?.includes('admin')) return NO_CLAUSES
    const clauses: Clause[] = []
    access.forEach(({ claim, absent }, field) => {
      const allowed = listClaim(claims, claim) ?? (absent === 'all' ? ['*'] : NONE)
      if (!allowed.includes('*')) clauses.push({ field, allowed: new Set(allowed) })
    })
    return clauses
  }
}

function roomsOf(event: EventContract, envelope: EventEnvelope): readonly string[] {
  return (event.readsRooms ? undefined : envelope.rooms) ?? event.rooms?.(envelope) ?? [envelope.type]
}

/**
 * The key under which a newer event replaces an older one for subscribers that are catching up. It includes everything
 * that decides who sees the event, so that no subscriber loses the last event meant for it.
 */
function latestKeyOf(
  event: EventContract,
  envelope: EventEnvelope,
  rooms: readonly string[],
  to: readonly string[] | string | undefined,
  fieldValues: FieldValues,
): string | undefined {
  const key = event.latest?.(envelope.data)
  return key === undefined || key === null ? undefined : JSON.stringify([envelope.type, key, to, fieldValues, rooms])
}

function matching(
  types: readonly string[],
  patterns: readonly string[],
  group: string,
  app: string,
): readonly string[] {
  return patterns.flatMap((pattern) => {
    const found = pattern.endsWith('*')
      ? types.filter((type) => type.startsWith(pattern.slice(0, -1)))
      : types.filter((type) => type === pattern)
    if (found.length === 0)
      throw new BrokerError(
        'CONTRACT_INVALID',
        `Contract ${app}: group "${group}" names "${pattern}", and there is no such event`,
      )
    return found
  })
}

function projectionOf({ app, rooms = {} }: Contract): Projection | undefined {
  const [view, ...more] = Object.entries(rooms).flatMap(([name, { projection }]) =>
    projection ? [new Projection(name, projection)] : [],
  )
  if (more.length > 0 || view?.room.includes('{'))
    throw new BrokerError(
      'CONTRACT_INVALID',
      `Contract ${app}: one room may have \`projection\`, and its name holds no braces`,
    )
  return view
}

function compileCommand(command: CommandContract, place: string): CompiledCommand {
  const { schema, action, namespaces, allows, inSession, anonymous } = command
  return {
    check: checkOf(schema, `${place}.schema`),
    action,
    namespaces,
    anonymous: anonymous === true,
    allows,
    inSession: inSession === true,
    checkReply: checkOf(action.use === 'forward' ? action.replies : undefined, `${place}.action.replies`),
  }
}
