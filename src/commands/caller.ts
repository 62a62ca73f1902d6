import type { CompiledContract } from '../contracts/compiled.ts'
import type { Message } from '../contracts/contract.ts'
import type { Within } from '../contracts/action.ts'
import { BrokerError, EXCERPT_MAX } from '../errors.ts'
import { decodeEnvelope } from '../log/event.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { Claims } from '../contracts/claims.ts'
import type { Command, Failure, Sender } from '../contracts/command.ts'

/** Who sent a command, as effects see it; each gateway implements it in its protocol. */
export interface Caller {
  readonly contract: CompiledContract
  /** Its membership in the application, as the hub has it. */
  readonly subscriber: Subscriber
  /** Set anew by `renewClient` alone. */
  claims: Claims
  /** Unique over all brokers. */
  readonly connectionId: string
  readonly closed: boolean
  /** Ends it, by name, where its token has run out. @returns whether that is so */
  endIfExpired(nowMs: number): boolean
  /**
   * The user whose connections it is one of. Undefined: nobody's, or another client on its connection counts already.
   */
  readonly countedAs: string | undefined
  /** False: it has yet to say who it is. */
  readonly authenticated?: boolean
  /** Socket.IO: the namespace's endpoint pattern, its name, and what stands in its braces. */
  readonly endpointName?: string
  readonly namespaceName?: string
  readonly parameter?: string
  /**
   * Sends a message, as the answer to a command where one is given. Waits where the socket is full; never lost while
   * the connection lasts.
   */
  reply(message: Message, command?: Command): void
  /**
   * Says what was wrong, with a command where one is given.
   * @param message instead of what the endpoint says of failures
   */
  fail(failure: Failure, command?: Command, message?: Message): void
  /** Rooms that it is in by connecting, whatever they are called. */
  ownRooms?(): readonly string[]
  /** The rooms that the client is in have changed. Resolves once that would survive this broker. */
  remember?(): Promise<void>
  /** Its answers come later, while other commands go on. */
  answersLater?(outcome: Promise<void>): void
  /** Reads anew who it is. @throws BrokerError where that is over, or cannot be said */
  refresh?(): Promise<Claims>
  /** It is nobody from now on, in no room. */
  logOut?(): Promise<void>
  /** Counts one more command. @returns false where it is one too many; the client has been told */
  admits?(command: Command): boolean
}

export function senderOf({ claims, namespaceName = '', parameter = '', subscriber }: Caller): Sender {
  return {
    userId: claims.sub,
    claims,
    namespace: namespaceName,
    parameter,
    rooms: subscriber.groups.map(({ room }) => room.name),
  }
}

/** @throws BrokerError ROOM_ACCESS_DENIED or INVALID_ROOM */
export function checkWithin({ contract, claims }: Caller, { data }: Command, within: Within | undefined): void {
  const room = within?.(data)
  if (room !== undefined) contract.checkRoom(claims, room)
}

/**
 * Whether what a client says stays where the client is, or may be. Rooms are made of what it sent, and a schema lets
 * through more than it names, so they are looked at as they are, whatever named them.
 * @throws BrokerError ROOM_ACCESS_DENIED
 */
export function checkRooms({ contract, claims, subscriber }: Caller, rooms: readonly string[]): void {
  for (const room of rooms) {
    if (subscriber.groupIn(room) || contract.mayBeIn(claims, room)) continue
    throw new BrokerError('ROOM_ACCESS_DENIED', `Access denied to room ${room.slice(0, EXCERPT_MAX)}`, { room })
  }
}

/**
 * The same of an event that is to be stored, as it will be read. The room of its own type is for whoever subscribed to
 * it.
 */
export function checkStored(caller: Caller, type: string, body: Uint8Array): void {
  checkRooms(
    caller,
    caller.contract.roomsOf(decodeEnvelope(body, false, type, Date.now())).filter((room) => room !== type),
  )
}
