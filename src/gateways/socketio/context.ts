import type { Services } from '../../commands/services.ts'
import type { Connections } from '../../guard/connections.ts'
import type { FailedAuthentications } from '../../guard/failed-authentications.ts'
import type { Meters } from '../../meters.ts'
import type { LoginSessions } from '../../state/login-sessions.ts'
import type { Recovery } from '../../state/recovery.ts'
import type { QueueLimits } from '../connection-queues.ts'
import type { Access } from './access.ts'
import type { Admission } from './admission.ts'
import type { Namespaces } from './namespaces.ts'

export interface SocketIoLimits {
  /** Bytes of one connection's answers and commands that wait. */
  readonly waitingBytes: number
  /** Commands of one connection; 0: what each contract says. */
  readonly commandsPerMinute: number
  /** Of contracts that say none. */
  readonly defaultCommandsPerMinute: number
  /** Of one connection, of any kind. */
  readonly packetsPerMinute: number
  /** Of one connection. */
  readonly namespacesMax: number
}

/** What all Socket.IO connections of one port share. */
export interface SocketIoContext {
  readonly namespaces: Namespaces
  readonly access: Access
  readonly admission: Admission
  readonly services: Services
  readonly meters: Meters
  readonly recovery: Recovery
  readonly loginSessions: LoginSessions
  readonly connections: Connections
  readonly failures: FailedAuthentications
  readonly limits: SocketIoLimits
  readonly queueLimits: QueueLimits
  /** The newest event that was published before the last heartbeat. */
  readonly beatSeq: () => number
}
