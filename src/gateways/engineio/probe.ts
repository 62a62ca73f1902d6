import { after } from '../../guarded.ts'
import type { EngineIoSession, EngineIoSocket } from './session.ts'

/**
 * A WebSocket that is to take over from long-polling: `2probe` → `3probe`, then `5` (engine.io-protocol, "Upgrade"). It
 * has one timer, from its opening on, so that a WebSocket that says nothing does not keep its session from another try.
 */
export function openProbe(session: EngineIoSession, socket: EngineIoSocket, timeoutMs: number): void {
  session.probe = socket
  session.probed = false
  after('upgrade timeout', timeoutMs, () => {
    if (session.probe === socket) socket.close()
  }).unref()
}

/** @returns whether the WebSocket takes over now */
export function receiveProbe(session: EngineIoSession, socket: EngineIoSocket, frame: ArrayBuffer): boolean {
  const text = Buffer.from(frame).toString()
  if (text === '2probe' && !session.probed) {
    session.probed = true
    socket.send('3probe')
    session.endPollsWhile(() => session.probe === socket)
    return false
  }
  // `5` alone changes over: the reference server too takes it without a probe before.
  if (text === '5' && !session.closed) return true
  socket.close()
  return false
}
