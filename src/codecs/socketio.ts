import type { Message } from '../hub/wire.ts'
import type { EventEnvelope } from '../log/event.ts'

/**
 * Socket.IO events as WebSocket text frames: an Engine.IO message packet (`4`) with a Socket.IO EVENT packet (`2`):
 * `42/ws,["project.updated",{…},"<position>"]`. The position is the last argument, where clients look for the offset
 * of their recovery.
 * @param prefix `eventPrefix()` of the namespace
 */
export function encodeSocketIoEvent(
  prefix: string,
  type: string,
  args: readonly unknown[],
  position: string,
): Uint8Array {
  return Buffer.from(`${prefix}${JSON.stringify([type, ...args, position])}`)
}

/** A message that is no stored event: it has no position. */
export function encodeSocketIoMessage(prefix: string, message: Message): Uint8Array {
  return Buffer.from(`${prefix}${JSON.stringify(eventValues(message))}`)
}

/**
 * What an EVENT packet of a message holds: its name, its arguments.
 * @param offset where clients look for the offset of their recovery: last
 */
export function eventValues({ type, data, args }: Message, offset?: string): readonly unknown[] {
  if (args !== undefined || data === undefined)
    return [type, ...(args ?? []), ...(offset === undefined ? [] : [offset])]
  return offset === undefined ? [type, data] : [type, data, offset]
}

/** What event frames of a namespace begin with. */
export function eventPrefix(namespace: string): string {
  return namespace === '/' ? '42' : `42${namespace},`
}

export type HandlerArguments = (event: EventEnvelope, position: string) => readonly unknown[]

/** Handlers get the event's bare `data`, unless a contract says otherwise. */
export const bareData: HandlerArguments = ({ data }) => [data]
