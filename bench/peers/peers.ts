import { centrifugo } from './centrifugo.ts'
import { nats } from './nats.ts'
import type { Peer, PeerName } from './peer.ts'
import { raw } from './raw.ts'
import { roomcast } from './roomcast.ts'
import { socketIoOnUws, socketIoOnWs } from './socketio.ts'

/** All that can be measured, in the order in which it is measured and shown. */
export const PEERS: Readonly<Record<PeerName, Peer>> = {
  raw,
  roomcast,
  'socketio-uws': socketIoOnUws,
  'socketio-ws': socketIoOnWs,
  nats,
  centrifugo,
}

export const PEER_NAMES = Object.keys(PEERS) as PeerName[]
