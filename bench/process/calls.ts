/** Calls between the bench and the processes that it starts, over Node's IPC channel. */

// biome-ignore lint/suspicious/noExplicitAny: the parameters are those of each implementation.
type Handler = (...args: any[]) => unknown

/** The calls that a process answers. Arguments and results are sent as JSON. */
export type Calls<T> = { [K in keyof T]: Handler }

export interface Call {
  readonly id: number
  readonly name: string
  readonly args: readonly unknown[]
}

export interface Answer {
  readonly id: number
  readonly result: unknown
}

/**
 * Answers the parent's calls, and exits when the parent does. A call that throws ends the process, and the parent
 * shows the reason.
 */
export function answerCalls<T extends Calls<T>>(implementation: T): void {
  process.on('message', async ({ id, name, args }: Call) => {
    const result = await implementation[name as keyof T](...args)
    process.send?.({ id, result } satisfies Answer)
  })
  process.on('disconnect', () => process.exit())
}
