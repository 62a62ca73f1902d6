import { brokers } from './surfaces/brokers.ts'
import { codecs } from './surfaces/codecs.ts'
import { configuration } from './surfaces/configuration.ts'
import { contracts } from './surfaces/contracts.ts'
import { engineio } from './surfaces/engineio.ts'
import { events } from './surfaces/events.ts'
import { frames } from './surfaces/frames.ts'
import { http } from './surfaces/http.ts'
import { records } from './surfaces/records.ts'
import { replies } from './surfaces/replies.ts'
import { socketio } from './surfaces/socketio.ts'

/** Those that a broker is reached by. */
export const BROKER_SURFACES = [frames, socketio, engineio, http, events, replies, records, brokers] as const
/** Those within this process. */
export const PURE_SURFACES = [codecs, contracts, configuration] as const
