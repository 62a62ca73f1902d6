import { centrifugo } from './centrifugo.ts'
import type { Dialect } from './dialect.ts'
import { nats } from './nats.ts'
import { roomcast } from './roomcast.ts'
import { socketIo } from './socketio.ts'
import type { Target } from './target.ts'

const DIALECTS = { roomcast, socketio: socketIo, nats, centrifugo }

export function dialectOf(target: Target): Dialect {
  return DIALECTS[target.dialect](target)
}
