import type { Target } from '../load/dialects/target.ts'
import type { Workload } from '../events/workload.ts'

const SOCKETIO_PATH = '/socket.io/?EIO=4&transport=websocket'

/** How clients of a workload's protocol use a server. */
export function targetOf(
  { protocol, path = '/', subscribe, format, namespace, join, welcomes }: Workload,
  port: number,
): Target {
  if (protocol === 'socketio')
    return { dialect: 'socketio', port, path: SOCKETIO_PATH, namespace, welcomes, subscribe: join }
  return { dialect: 'roomcast', port, path, subscribe, format }
}
