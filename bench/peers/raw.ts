import { built } from '../process/built.ts'
import { subjectOf } from '../events/workload.ts'
import { freePort, LIMITS, type Peer, portsOf, startNode } from './peer.ts'
import { targetOf } from './target.ts'

/** A server of uWebSockets.js alone: what can be reached at all. */
export const raw: Peer = {
  name: 'raw',
  title: 'raw uWS',
  about:
    "uWebSockets.js, one `publish` an event to one topic; core NATS, the same bytes as Roomcast's. Checks no token, keeps no promise, has no recovery",
  async start(options) {
    const { natsUrl, workload, rawByMessage, port } = options
    const { namespace } = workload
    const env = {
      ...LIMITS,
      ...options.env,
      NATS_URL: natsUrl,
      SUBJECT: subjectOf(workload),
      TYPE: workload.type,
      PORT: String(port || (await freePort())),
      ...(namespace === undefined ? undefined : { SOCKETIO_NAMESPACE: namespace }),
      ...(rawByMessage ? { BY_MESSAGE: '' } : undefined),
    }
    const child = startNode(raw.title, [built('peers/programs/raw')], env, options)
    const { port: listening } = await portsOf(child)
    const target = {
      ...targetOf({ ...workload, protocol: 'raw', path: '/ws', format: 'json' }, listening),
      ...(rawByMessage ? undefined : { subscribe: undefined }),
    }
    return { child, target, publish: { url: natsUrl, core: false }, probed: true }
  },
}
