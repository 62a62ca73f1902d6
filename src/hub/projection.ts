import type { Encoder } from '../log/entry.ts'
import type { EventEnvelope } from '../log/event.ts'
import type { Message, Wire } from './wire.ts'

const NOTHING = new Uint8Array()

/**
 * Delivers every event of an application in another form to the members of one room, in addition to what their other
 * rooms bring. A subscriber with a projection is fed from the log, so that both come in one order.
 */
export class Projection {
  readonly room: string
  private readonly project: (event: EventEnvelope) => Message | undefined
  private readonly encoders = new WeakMap<Wire, Encoder>()

  /** @param project returns undefined for an event that it leaves out */
  constructor(room: string, project: (event: EventEnvelope) => Message | undefined) {
    this.room = room
    this.project = project
  }

  /** The encoder for a wire: an event that the projection leaves out becomes an empty frame. */
  encoderOf(wire: Wire): Encoder {
    let encoder = this.encoders.get(wire)
    if (!encoder) {
      encoder = {
        encodeEvent: (event, position) => {
          const shown = this.project(event)
          return shown
            ? wire.encodeEvent({ ...event, type: shown.type, data: shown.data as EventEnvelope['data'] }, position)
            : NOTHING
        },
      }
      this.encoders.set(wire, encoder)
    }
    return encoder
  }
}
