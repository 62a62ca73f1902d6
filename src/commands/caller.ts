import type { CompiledContract } from '../contracts/compiled.ts'
import type { Message } from '../contracts/contract.ts'
import type { Within } from '../contracts/action.ts'
import { BrokerError, EXCERPT_MAX } from '../errors.ts'
import { decodeEnvelope } from '../log/event.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { Claims } from '../contracts/claims.ts'
import type { Command, Failure, Sender } from '../contracts/command.ts'

/** The client that sent a command, as actions see it. Each gateway implements it for its protocol. */
export interface Caller {
  readonly contract: CompiledContract
  /** Its subscriber in the hub. */
  readonly subscriber: Subscriber
  /** Only `renewClient` replaces them. */
  claims: Claims
  /** Unique over all brokers. */
  readonly connectionId: string
  readonly closed: boolean
  /** Ends the connection with AUTH_EXPIRED if its token has expired. @returns whether the token has expired */
  endIfExpired(nowMs: number): boolean
  /**
   * The user whose connection count includes it. Undefined: it has no user, or another client on the same connection
   * already counts.
   */
  readonly countedAs: string | undefined
  /** False: it has not authenticated yet. */
  readonly authenticated?: boolean
  /** Socket.IO: the namespace pattern of the endpoint, the namespace's name, and the value of its parameter. */
  readonly endpointName?: string
  readonly namespaceName?: string
  readonly parameter?: string
  /**
   * Sends a message; if a command is given, as the answer to it. The message waits while the socket is full and is
   * never lost while the connection lasts.
   */
  reply(message: Message, command?: Command): void
  /**
   * Reports a failure; if a command is given, as the answer to it.
   * @param message sent instead of the endpoint's own failure message
   */
  fail(failure: Failure, command?: Command, message?: Message): void
  /** The rooms that it joined by connecting; they need no pattern in the contract's `rooms`. */
  ownRooms?(): readonly string[]
  /** Records that the client's rooms have changed. Resolves once the change would survive this broker. */
  remember?(): Promise<void>
  /** Lets other commands go on while the answer to this one is pending. */
  answersLater?(outcome: Promise<void>): void
  /** Reads its identity again. @throws BrokerError if the identity has ended or cannot be read */
  refresh?(): Promise<Claims>
  /** Removes its identity and takes it out of every room. */
  logOut?(): Promise<void>
  /** Counts one more command. @returns false if it exceeds the limit; the client has then been told */
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
 * Checks that a client's message goes only to rooms that the client is in or may join. Room names are built from client
 * data, and schemas let undeclared fields through, so this checks the final names.
 * @throws BrokerError ROOM_ACCESS_DENIED
 */
export function checkRooms({ contract, claims, subscriber }: Caller, rooms: readonly string[]): void {
  for (const room of rooms) {
    if (subscriber.groupIn(room) || contract.mayBeIn(claims, room)) continue
    throw new BrokerError('ROOM_ACCESS_DENIED', `Access denied to room ${room.slice(0, EXCERPT_MAX)}`, { room })
  }
}

/**
 * Like `checkRooms`, for an event about to be stored: checks the rooms that the event will have when it is read. The
 * room named after its type is exempt, because it holds the subscribers of that type.
 */
export function checkStored(caller: Caller, type: string, body: Uint8Array): void {
  checkRooms(
    caller,
    caller.contract.roomsOf(decodeEnvelope(body, false, type, Date.now())).filter((room) => room !== type),
  )
}
