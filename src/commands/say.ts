import type { Command } from '../contracts/contract.ts'
import type { SayEffect } from '../contracts/effect.ts'
import { type Caller, checkRooms, checkWithin, senderOf, type Services } from './caller.ts'

const PREFIX = 'roomcast.say.'

/** Says something to the others in a room, on all nodes; not stored, and left out where a socket is full. */
export function say(caller: Caller, command: Command, effect: SayEffect, { hub, source }: Services): void {
  checkWithin(caller, command, effect.within)
  const sender = senderOf(caller)
  const room = effect.room(command.data, sender)
  if (!effect.elsewhere) checkRooms(caller, typeof room === 'string' ? [room] : room)
  const message = effect.message(command.data, sender)
  const { audience } = caller.session
  hub.say(audience, room, message, (session) => session === caller.session)
  source.tell(`${PREFIX}${audience.app}`, Buffer.from(JSON.stringify({ room, message })))
  command.acknowledge?.([{ status: 'success' }])
}

/** Passes on what was said on other nodes. */
export function hearOthers({ hub, source }: Services, audiences: Iterable<{ app: string; audience: Parameters<Services['hub']['say']>[0] }>): void {
  for (const { app, audience } of audiences) {
    source.hear(`${PREFIX}${app}`, (body) => {
      const { room, message } = JSON.parse(Buffer.from(body).toString())
      hub.say(audience, room, message)
    })
  }
}
