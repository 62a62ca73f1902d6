import { type Claims, userOf } from '../contracts/claims.ts'
import type { Command } from '../contracts/command.ts'
import type { PresenceAction, SelectAction } from '../contracts/action.ts'
import { BrokerError, EXCERPT_MAX } from '../errors.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { PresenceState } from '../state/recovery.ts'
import { type Caller, senderOf } from './caller.ts'
import { checkRoomCount } from './permission.ts'
import type { Services } from './services.ts'

/** What a subscriber gets from a presence channel. */
interface Selection {
  readonly types: readonly string[]
  /** The command that joined the channel; its action decides who may be in it. Undefined: a room with presence. */
  readonly by: string | undefined
}

/** The event types that a subscriber selected, for all its channels and for single channels. */
interface Selections {
  all: readonly string[] | undefined
  readonly byChannel: Map<string, Selection>
}

const selections = new WeakMap<Subscriber, Selections>()

const ROOM_PREFIX = 'present:'

/** The room in which the users of a presence channel see each other join and leave. */
export function channelRoom(channel: string): string {
  return `${ROOM_PREFIX}${channel}`
}

/** The presence channel of a room made by `channelRoom`. @returns undefined for any other room */
export function channelOfRoom(room: string): string | undefined {
  return room.startsWith(ROOM_PREFIX) ? room.slice(ROOM_PREFIX.length) : undefined
}

/** Joins a presence channel: the others in it learn of the join, and the caller gets the channel's events. */
export async function joinPresence(
  caller: Caller,
  command: Command,
  action: PresenceAction,
  { hub, presence, roomsMax }: Services,
): Promise<void> {
  const { subscriber, claims, contract } = caller
  const channel = action.channel(command.data, senderOf(caller))
  if (!mayBeIn(claims, action, channel))
    throw new BrokerError('ROOM_ACCESS_DENIED', `Access denied to ${channel.slice(0, EXCERPT_MAX)}`, { place: channel })
  const { all, byChannel } = selectionsOf(subscriber)
  const types = byChannel.get(channel)?.types ?? all ?? action.events
  const rooms = [...roomsOf(caller, action.room, channel, types), channelRoom(channel)]
  checkRoomCount(subscriber, rooms, roomsMax)
  byChannel.set(channel, { types, by: command.type })
  hub.join(subscriber, rooms)
  presence.join(subscriber, channel, userOf(claims).name)
  await caller.remember?.()
  if (caller.closed) return
  if (action.reply)
    caller.reply(action.reply(channel, presence.count(contract.app, channel), contract.lastValues), command)
  command.acknowledge?.([{ status: 'success' }])
}

export async function leavePresence(
  caller: Caller,
  command: Command,
  action: PresenceAction,
  { hub, presence }: Services,
): Promise<void> {
  const { subscriber, contract } = caller
  const channel = action.channel(command.data, senderOf(caller))
  const { byChannel } = selectionsOf(subscriber)
  const types = byChannel.get(channel)?.types ?? []
  hub.leave(subscriber, [...roomsOf(caller, action.room, channel, types), channelRoom(channel)])
  byChannel.delete(channel)
  presence.leave(subscriber, channel)
  await caller.remember?.()
  if (action.reply)
    caller.reply(action.reply(channel, presence.count(contract.app, channel), contract.lastValues), command)
  command.acknowledge?.([{ status: 'success' }])
}

/** Selects event types for one channel, or for all channels that the caller is in or joins later. */
export async function select(
  caller: Caller,
  command: Command,
  action: SelectAction,
  { hub, presence, roomsMax }: Services,
): Promise<void> {
  const { subscriber, contract } = caller
  const types = action.events(command.data)
  for (const type of types)
    if (!contract.event(type))
      throw new BrokerError('UNKNOWN_EVENT', `There is no event "${type.slice(0, 100)}"`, { event: type.slice(0, 100) })
  const only = action.channel(command.data)
  if (only !== undefined && !presence.isIn(subscriber, only))
    throw new BrokerError('INVALID_ROOM', `Join ${only.slice(0, 100)} first`, { place: only.slice(0, 100) })
  const selected = selectionsOf(subscriber)
  if (only === undefined) selected.all = types
  for (const channel of only === undefined ? presence.channelsOf(subscriber) : [only]) {
    const before = selected.byChannel.get(channel)
    const roomsBefore = roomsOf(caller, action.room, channel, before?.types ?? [])
    const rooms = roomsOf(caller, action.room, channel, types)
    checkRoomCount(subscriber, rooms, roomsMax)
    hub.join(subscriber, rooms)
    hub.leave(
      subscriber,
      roomsBefore.filter((name) => !rooms.includes(name)),
    )
    selected.byChannel.set(channel, { types, by: before?.by })
  }
  await caller.remember?.()
  command.acknowledge?.([{ status: 'success' }])
}

/** The state of a subscriber's presence channels, for its recovery. Undefined: it has none. */
export function presenceStateOf(subscriber: Subscriber, { presence }: Services): PresenceState | undefined {
  const selected = selections.get(subscriber)
  // Rooms with presence are restored with the other rooms.
  const channels = presence.channelsOf(subscriber).filter((channel) => !subscriber.groupIn(channel))
  if (selected === undefined && channels.length === 0) return undefined
  return {
    places: channels,
    ...(selected?.all ? { all: selected.all } : undefined),
    byPlace: [...(selected?.byChannel ?? [])].map(([channel, { types, by }]) =>
      by === undefined ? [channel, types] : [channel, types, by],
    ),
  }
}

/**
 * Restores a client's presence channels, as far as its claims still allow them.
 * @returns their rooms
 */
export function restorePresence(
  caller: Caller,
  { places: channels, all, byPlace: byChannel }: PresenceState,
  { presence }: Services,
): readonly string[] {
  const { subscriber, claims } = caller
  const allowed = byChannel.filter(
    ([channel, , by]) =>
      !channels.includes(channel) || actionsOf(caller, by).some((action) => mayBeIn(claims, action, channel)),
  )
  selections.set(subscriber, {
    all,
    byChannel: new Map(allowed.map(([channel, types, by]) => [channel, { types, by }])),
  })
  const rooms: string[] = []
  for (const [channel, types, by] of allowed) {
    if (!channels.includes(channel)) continue
    presence.join(subscriber, channel, userOf(claims).name)
    rooms.push(...channelRoomsOf(caller, channel, { types, by }))
  }
  return rooms
}

/**
 * Leaves the presence channels that the new claims do not allow.
 * @returns the rooms of the channels it kept and of those it left
 */
export function leaveForbiddenChannels(
  caller: Caller,
  claims: Claims,
  { presence }: Services,
): { readonly kept: ReadonlySet<string>; readonly lost: ReadonlySet<string> } {
  const { subscriber } = caller
  const [kept, lost] = [new Set<string>(), new Set<string>()]
  const byChannel = selections.get(subscriber)?.byChannel
  for (const [channel, selection] of byChannel ?? []) {
    if (selection.by === undefined) continue
    const stays = actionsOf(caller, selection.by).some((action) => mayBeIn(claims, action, channel))
    for (const room of channelRoomsOf(caller, channel, selection)) (stays ? kept : lost).add(room)
    if (stays) continue
    byChannel?.delete(channel)
    presence.leave(subscriber, channel)
  }
  return { kept, lost }
}

function mayBeIn(claims: Claims, { allows }: Pick<PresenceAction, 'allows'>, channel: string): boolean {
  return claims.roles?.includes('admin') === true || allows(claims, channel)
}

/** The action of the command that joined a channel. If the command is not known, all `joinPresence` actions. */
function actionsOf({ contract }: Caller, by: string | undefined): readonly PresenceAction[] {
  const commands = by === undefined ? [...contract.commands.values()] : [contract.commands.get(by)]
  return commands.flatMap((command) => (command?.action.use === 'joinPresence' ? [command.action] : []))
}

function channelRoomsOf(caller: Caller, channel: string, { types, by }: Selection): string[] {
  return [...actionsOf(caller, by).flatMap(({ room }) => roomsOf(caller, room, channel, types)), channelRoom(channel)]
}

function selectionsOf(subscriber: Subscriber): Selections {
  let selected = selections.get(subscriber)
  if (!selected) selections.set(subscriber, (selected = { all: undefined, byChannel: new Map() }))
  return selected
}

function roomsOf(caller: Caller, room: PresenceAction['room'], channel: string, types: readonly string[]): string[] {
  const sender = senderOf(caller)
  return types.map((type) => room(channel, type, sender)).filter((name) => name !== undefined)
}
