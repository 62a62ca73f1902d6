import { ErrorCode, NatsError } from 'nats'
import type { Logger } from 'pino'

/** A cluster elects new leaders within a few seconds. */
const SETTLES_MS = 20_000
const RETRY_MS = 500
/** JetStream's answer if there are too few nodes for the replicas: some have not come back yet. */
const NO_PEERS = 10005

/**
 * Asks JetStream until its cluster has settled: for a few seconds after a node died, or while all of them start, it
 * does not answer, or answers that it cannot at the moment.
 * @throws its last error
 */
export async function onceSettled<T>(ask: () => Promise<T>, log: Logger): Promise<T> {
  const untilMs = Date.now() + SETTLES_MS
  for (let told = false; ; ) {
    try {
      return await ask()
    } catch (error) {
      if (!isUnsettled(error) || Date.now() >= untilMs) throw error
      if (!told) log.warn('JetStream does not answer yet, trying again')
      told = true
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }
}

/**
 * Whether nobody answered in time, or the answer was that it cannot at the moment. Having no responders is another
 * error: it means a server without JetStream.
 */
export function isUnsettled(error: unknown): boolean {
  return (
    error instanceof NatsError &&
    (error.code === ErrorCode.Timeout || error.api_error?.code === 503 || error.api_error?.err_code === NO_PEERS)
  )
}
