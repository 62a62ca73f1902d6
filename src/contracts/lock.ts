import type { AnyData } from './command.ts'

/** One user's lock on a resource. */
export interface Lock {
  /** As returned by `resource` of the `lock` action. */
  readonly resource: AnyData
  readonly userId: string
  readonly mode: 'exclusive' | 'shared'
}
