import { ErrorCode, NatsError } from 'nats'
import type { Logger } from 'pino'

/** A cluster elects new leaders within a few seconds. */
const SETTLES_MS = 20_000
const RETRY_MS = 500
/** JetStream's answer where too few nodes are there for the replicas: some have yet to come back. */
const NO_PEERS = 10005

/**
 * Asks JetStream once its cluster has settled: for a few seconds after a node died, or while all of them start, it does
 * not answer, or answers that it cannot at the moment.
 * @throws what it said last
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
 * Nobody answered in time, or the answer was that it cannot at the moment: not that nobody is there to answer, which is
 * how a server without JetStream shows itself.
 */
export function isUnsettled(error: unknown): boolean {
  return (
    error instanceof NatsError &&
    (error.code === ErrorCode.Timeout || error.api_error?.code === 503 || error.api_error?.err_code === NO_PEERS)
  )
}
