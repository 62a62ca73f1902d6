import { built } from '../process/built.ts'
import { subjectOf, WORKLOADS } from '../events/workload.ts'
import { freePort, LIMITS, type Peer, type PeerName, portsOf, startNode } from './peer.ts'
import { targetOf } from './target.ts'

const ABOUT =
  '`transports: [websocket]`, `perMessageDeflate: false`; core NATS, token checked (fast-jwt), joins the same rooms. No recovery after a restart'

function socketIo(name: PeerName, title: string, about: string, env: Record<string, string>): Peer {
  return {
    name,
    title,
    about: `${about} ${ABOUT}`,
    unavailable: async () => {
      // A development dependency: not installed with the published package.
      try {
        import.meta.resolve('socket.io')
        return undefined
      } catch {
        return 'the package socket.io is not installed'
      }
    },
    async start(options) {
      const { natsUrl, jwtSecret, port } = options
      const workload =
        options.workload.protocol === 'socketio'
          ? options.workload
          : { ...WORKLOADS.socketio, app: options.workload.app, type: options.workload.type }
      const child = startNode(
        title,
        [built('peers/programs/socketio')],
        {
          ...LIMITS,
          ...env,
          NATS_URL: natsUrl,
          JWT_SECRET: jwtSecret,
          PORT: String(port || (await freePort())),
          SUBJECT: subjectOf(workload),
          TYPE: workload.type,
          SOCKETIO_NAMESPACE: workload.namespace ?? '/',
          ROOM: workload.room ?? '',
        },
        options,
      )
      const { port: listening } = await portsOf(child)
      return { child, target: targetOf(workload, listening), publish: { url: natsUrl, core: false }, probed: true }
    },
  }
}

export const socketIoOnUws = socketIo(
  'socketio-uws',
  'socket.io on uWS',
  'The socket.io package 4.8, `io.attachApp(uWebSockets.js)`.',
  { ON_UWS: '' },
)
export const socketIoOnWs = socketIo(
  'socketio-ws',
  'socket.io on ws',
  'The socket.io package 4.8 on its default engine, ws 8.',
  {},
)
