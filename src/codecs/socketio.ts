import type { Message } from '../hub/wire.ts'
import type { EventEnvelope } from '../log/event.ts'

/**
 * Encodes an event as a Socket.IO text frame, an Engine.IO message packet (`4`) that holds a Socket.IO EVENT packet
 * (`2`): `42/ws,["project.updated",{…},"<position>"]`. The position is the last argument, where clients look for the
 * offset of their recovery.
 * @param prefix `eventPrefix()` of the namespace
 * @param position undefined: without it
 */
export function encodeSocketIoEvent(
  prefix: string,
  type: string,
  args: readonly unknown[],
  position: string | undefined,
): Uint8Array {
  return Buffer.from(`${prefix}${JSON.stringify(position === undefined ? [type, ...args] : [type, ...args, position])}`)
}

/** Encodes a message that is not a stored event and has no position. */
export function encodeSocketIoMessage(prefix: string, message: Message): Uint8Array {
  return Buffer.from(`${prefix}${JSON.stringify(eventValues(message))}`)
}

/**
 * The values of a message's EVENT packet: its name and its arguments.
 * @param offset added last, where clients look for the offset of their recovery
 */
export function eventValues({ type, data, args }: Message, offset?: string): readonly unknown[] {
  if (args !== undefined || data === undefined)
    return [type, ...(args ?? []), ...(offset === undefined ? [] : [offset])]
  return offset === undefined ? [type, data] : [type, data, offset]
}

/** The prefix of a namespace's event frames. */
export function eventPrefix(namespace: string): string {
  return namespace === '/' ? '42' : `42${namespace},`
}

export type HandlerArguments = (event: EventEnvelope, position: string) => readonly unknown[]

/** The default arguments of handlers: only the event's `data`. */
export const bareData: HandlerArguments = ({ data }) => [data]
