import type { AnyData } from './command.ts'

/** What one user holds of a resource. */
export interface Lock {
  /** What the `lock` action said of it. */
  readonly resource: AnyData
  readonly userId: string
  readonly mode: 'exclusive' | 'shared'
}
