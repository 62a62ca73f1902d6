import type { Msg, NatsConnection, Subscription } from 'nats'
import type { Logger } from 'pino'
import { reasonOf } from '../../errors.ts'
import { after, guarded, runGuarded } from '../../guarded.ts'

const RETRY_MS = 2_000

export interface StandingOptions {
  readonly nc: NatsConnection
  readonly subject: string
  /** Of all subscriptions that name this queue, one gets each message. */
  readonly queue?: string
  readonly log: Logger
  readonly heard: (message: Msg) => unknown
}

/**
 * A subscription that stays. If the server refuses it, or takes it away while the connection stays because permissions
 * were changed, it is gone, and nobody says so later. So it is requested again until it is there.
 */
export class StandingSubscription {
  /** Why it hears nothing at the moment; undefined: it does. */
  trouble: string | undefined
  readonly subject: string
  private readonly options: StandingOptions
  private subscription!: Subscription
  private lost = false
  private closed = false

  constructor(options: StandingOptions) {
    this.options = options
    this.subject = options.subject
    this.subscribe()
  }

  /** The server does not allow the subscription. */
  refused(error: unknown): void {
    if (this.closed || this.lost) return
    this.lost = true
    this.subscription.unsubscribe()
    if (this.trouble === undefined)
      this.options.log.warn(
        { subject: this.subject, reason: reasonOf(error) },
        'NATS forbids subscribing to this subject; trying again',
      )
    this.trouble = `nothing is heard on ${this.subject}: ${reasonOf(error)}`
    after('nats subscription', RETRY_MS, () => this.again()).unref()
  }

  close(): void {
    this.closed = true
  }

  private subscribe(): void {
    const { nc, subject, queue, heard } = this.options
    this.subscription = nc.subscribe(subject, {
      ...(queue === undefined ? undefined : { queue }),
      callback: guarded('nats message', (error, message) => (error === null ? heard(message) : this.refused(error))),
    })
  }

  private again(): void {
    if (this.closed || this.options.nc.isClosed()) return
    this.lost = false
    this.subscribe()
    runGuarded('nats subscription', () => this.confirm())
  }

  private async confirm(): Promise<void> {
    // A refusal arrives before the answer to this flush. If the connection is lost meanwhile, the next one requests the
    // subscription again.
    const answered = await this.options.nc.flush().then(
      () => true,
      () => false,
    )
    if (this.lost || this.closed) return
    if (!answered) return void after('nats subscription', RETRY_MS, () => this.confirm()).unref()
    this.trouble = undefined
    this.options.log.info({ subject: this.subject }, 'NATS allows subscribing to this subject again')
  }
}
