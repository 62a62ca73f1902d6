import {
  ErrorCode,
  Events,
  headers,
  type JetStreamClient,
  type JetStreamManager,
  type Msg,
  type NatsConnection,
} from 'nats'
import { BrokerError, reasonOf } from '../../errors.ts'
import { after, every, runGuarded } from '../../guarded.ts'
import { MSGPACK_TYPE, type StoredMessage } from '../../log/event.ts'
import type { Answer, Bounds, Consumption, KeyValue, PublishOptions, ReadPart, Sink, Source } from '../source.ts'
import { connectOnce } from './connect.ts'
import { apiOf, type ConnectOptions } from './connect-options.ts'
import { isUnanswered, translate, unfit } from './failures.ts'
import { guardDispatch } from './guarded-dispatch.ts'
import { NatsKeyValue } from './nats-kv.ts'
import { NatsConsumption } from './nats-consumption.ts'
import { boundsOf, ensureStream, type StreamOptions, tellOfSettings, tryReading } from './stream.ts'
import { readRange } from './read-range.ts'
import { StandingSubscription } from './standing-subscription.ts'
import { onceSettled } from './settled.ts'

export interface NatsSourceOptions extends ConnectOptions {
  readonly stream: StreamOptions
  /** Replicas of key-value buckets. 0, or left out: as many as the stream has. */
  readonly kvReplicas?: number
}

const PUBLISH_TIMEOUT_MS = 5_000
/** A server that stopped answering without closing its connection is noticed within about two of these. */
const PROBE_MS = 1_000
/** How often buckets are checked: nobody reports that one is lost. */
const LOOK_MS = 5_000
const LOGIN_REFUSED: ReadonlySet<string> = new Set([
  ErrorCode.AuthorizationViolation,
  ErrorCode.AuthenticationExpired,
  ErrorCode.AccountExpired,
])
const FORBIDDEN_TOLD_MAX = 100
/** The log reports refused events at most this often. */
const REFUSAL_TOLD_MS = 10_000

/** NATS with JetStream. It reconnects for ever; only the first connect must succeed. */
export class NatsSource implements Source {
  readonly kind = 'nats'
  private readonly options: NatsSourceOptions
  private readonly nc: NatsConnection
  private readonly js: JetStreamClient
  private readonly jsm: JetStreamManager
  /** The stream's epoch when it was last asked for. */
  private epoch = ''
  private up = true
  private answering = true
  private closed = false
  /** The log has said that the login is refused, since it was last taken. */
  private loginRefused = false
  private readonly prober: NodeJS.Timeout
  private readonly looker: NodeJS.Timeout
  private readonly consumptions = new Set<NatsConsumption>()
  private readonly buckets = new Map<string, Promise<NatsKeyValue>>()
  private readonly opened = new Set<NatsKeyValue>()
  private readonly standing = new Set<StandingSubscription>()
  /** Subjects that permissions keep it from publishing to, since it connected. Each is logged once. */
  private readonly forbiddenToPublish = new Set<string>()
  /** When the log last said that an event was refused. */
  private refusalToldMs = 0
  private readonly streamReplicas: number

  /** @throws BrokerError SOURCE_UNREACHABLE, SOURCE_REFUSED or SOURCE_UNFIT, saying what to do */
  static async open(options: NatsSourceOptions): Promise<NatsSource> {
    const nc = await connectOnce(options)
    guardDispatch(nc)
    try {
      const { stream, log } = options
      const jsm = await onceSettled(() => nc.jetstreamManager(apiOf(options)), log)
      const { replicas } = await onceSettled(() => ensureStream(jsm, stream, log), log)
      await onceSettled(() => tellOfSettings(jsm, stream.name, log), log)
      await tryReading(nc.jetstream(apiOf(options)), jsm, stream)
      return new NatsSource(options, nc, jsm, replicas)
    } catch (error) {
      await nc.close()
      throw error instanceof BrokerError ? error : unfit(error, options)
    }
  }

  private constructor(options: NatsSourceOptions, nc: NatsConnection, jsm: JetStreamManager, streamReplicas: number) {
    this.options = options
    this.streamReplicas = streamReplicas
    this.nc = nc
    this.jsm = jsm
    this.js = nc.jetstream({ ...apiOf(options), timeout: PUBLISH_TIMEOUT_MS })
    runGuarded('nats status', () => this.followStatus())
    this.prober = every('nats probe', PROBE_MS, () => this.probe())
    this.looker = every('kv look', LOOK_MS, () => (this.connected ? this.lookAtBuckets() : undefined))
    for (const timer of [this.prober, this.looker]) timer.unref()
  }

  get connected(): boolean {
    return this.up && this.answering
  }

  get troubles(): string[] {
    if (!this.connected) return ['NATS is out of reach']
    return [...this.consumptions, ...this.opened, ...this.standing]
      .map(({ trouble }) => trouble)
      .filter((trouble) => trouble !== undefined)
  }

  async bounds(): Promise<Bounds> {
    this.mustBeUp()
    try {
      const bounds = await boundsOf(this.jsm, this.options.stream.name)
      this.epoch = bounds.epoch
      return bounds
    } catch (error) {
      throw translate(error)
    }
  }

  consume(afterSeq: number, sink: Sink): Consumption {
    const { stream, log } = this.options
    const consumption = new NatsConsumption({
      js: this.js,
      jsm: this.jsm,
      stream,
      log,
      sink,
      afterSeq,
      connected: () => this.up,
    })
    this.consumptions.add(consumption)
    return consumption
  }

  async read(afterSeq: number, limit: number, part: ReadPart = {}): Promise<StoredMessage[]> {
    this.mustBeUp()
    const { js, jsm, epoch } = this
    const mustBeSame = async () => {
      if ((await this.bounds()).epoch !== epoch && epoch !== '')
        throw new BrokerError('SERVICE_UNAVAILABLE', 'The stream became another one meanwhile')
    }
    try {
      return await readRange({ js, jsm, stream: this.options.stream, afterSeq, limit, part, mustBeSame })
    } catch (error) {
      throw translate(error)
    }
  }

  async publish(
    subject: string,
    body: Uint8Array,
    { messageId, msgpack = false }: PublishOptions = {},
  ): Promise<number | undefined> {
    this.mustBeUp()
    try {
      const header = msgpack ? headers() : undefined
      header?.set('Content-Type', MSGPACK_TYPE)
      const ack = await this.js.publish(subject, body, {
        ...(messageId === undefined ? undefined : { msgID: messageId }),
        ...(header ? { headers: header } : undefined),
      })
      return ack.stream === this.options.stream.name ? ack.seq : undefined
    } catch (error) {
      throw this.unstored(error)
    }
  }

  async request(subject: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    this.mustBeUp()
    try {
      return (await this.nc.request(subject, body, { timeout: timeoutMs })).data
    } catch (error) {
      throw translate(error)
    }
  }

  serve(subject: string, to: 'one' | 'all', answer: Answer): void {
    this.subscribe(subject, (message) => this.respond(message, answer), to === 'one' ? 'roomcast' : undefined)
  }

  notify(subject: string, body: Uint8Array): void {
    if (!this.up) return
    try {
      this.nc.publish(subject, body)
    } catch (error) {
      throw translate(error)
    }
  }

  listen(subject: string, heard: (body: Uint8Array) => void): void {
    this.subscribe(subject, (message) => heard(message.data))
  }

  async keyValue(bucket: string, ttlMs: number): Promise<KeyValue> {
    let kv = this.buckets.get(bucket)
    if (!kv) {
      this.mustBeUp()
      const { js, jsm, options } = this
      const replicas = options.kvReplicas || this.streamReplicas
      const mustBeUp = () => this.mustBeUp()
      const suspect = () => this.lookAtBuckets()
      kv = onceSettled(
        () => NatsKeyValue.open({ js, jsm, bucket, ttlMs, replicas, log: options.log, mustBeUp, suspect }),
        options.log,
      )
      this.buckets.set(bucket, kv)
      kv.then(
        (opened) => this.opened.add(opened),
        () => this.buckets.delete(bucket),
      )
    }
    try {
      return await kv
    } catch (error) {
      throw translate(error)
    }
  }

  async close(): Promise<void> {
    this.closed = true
    for (const timer of [this.prober, this.looker]) clearInterval(timer)
    for (const consumption of this.consumptions) await consumption.stop()
    for (const open of [...this.opened, ...this.standing]) open.close()
    await this.nc.close()
  }

  /** Makes lost buckets again. Resolves once their owners have written again what they know. */
  private async lookAtBuckets(): Promise<void> {
    await Promise.all([...this.opened].map((bucket) => bucket.look()))
    await Promise.all([...this.opened].map((bucket) => bucket.restored()))
  }

  private subscribe(subject: string, heard: (message: Msg) => unknown, queue?: string): void {
    const { nc, options } = this
    this.standing.add(
      new StandingSubscription({
        nc,
        subject,
        heard,
        log: options.log,
        ...(queue === undefined ? undefined : { queue }),
      }),
    )
  }

  private async respond(message: Msg, answer: Answer): Promise<void> {
    try {
      const body = await answer(message.data)
      if (body !== undefined) message.respond(body)
    } catch (error) {
      // The connection may have closed meanwhile.
      this.options.log.warn({ subject: message.subject, reason: reasonOf(error) }, 'a request went without its answer')
    }
  }

  private mustBeUp(): void {
    if (!this.up) throw new BrokerError('SERVICE_UNAVAILABLE', 'NATS is out of reach at the moment')
  }

  private async followStatus(): Promise<void> {
    for await (const status of this.nc.status()) {
      // nats.js tells the subscription itself only if the server names its queue, which it does not after permissions
      // changed.
      if (status.type === Events.Error && status.permissionContext !== undefined) {
        const { subject, operation } = status.permissionContext
        if (operation === 'publish') this.forbidden(subject)
        else
          for (const subscription of this.standing)
            if (subscription.subject === subject) subscription.refused(new Error('permission denied'))
      } else if (status.type === Events.Error && LOGIN_REFUSED.has(String(status.data))) {
        if (!this.loginRefused)
          this.options.log.warn({ reason: status.data }, 'NATS refuses the login that it took before; trying again')
        this.loginRefused = true
      } else if (status.type === Events.Disconnect) {
        // Each attempt that is refused is told as another loss.
        if (this.up && !this.closed) this.options.log.warn('NATS lost; clients stay, reconnecting')
        this.up = false
        for (const consumption of this.consumptions) consumption.interrupt()
      } else if (status.type === Events.Reconnect) {
        this.up = this.answering = true
        this.loginRefused = false
        this.forbiddenToPublish.clear()
        this.options.log.info('NATS is back')
        for (const consumption of this.consumptions) consumption.interrupt()
        for (const bucket of this.opened) bucket.rewatch()
        runGuarded('kv look', () => this.lookAtBuckets())
      }
    }
  }

  /** Says why an event was not stored. The log repeats it only now and then: anybody may have published the event. */
  private unstored(error: unknown): BrokerError {
    const failure = translate(error)
    const reason =
      failure.code !== 'SERVICE_UNAVAILABLE'
        ? undefined
        : isUnanswered(error)
          ? 'no stream of NATS takes it, or its JetStream is off'
          : failure.message
    if (reason === undefined) return failure
    const nowMs = Date.now()
    // The clock may have been set back.
    if (Math.abs(nowMs - this.refusalToldMs) >= REFUSAL_TOLD_MS) {
      this.refusalToldMs = nowMs
      this.options.log.warn({ stream: this.options.stream.name, reason }, 'an event was refused and is not stored')
    }
    return new BrokerError(failure.code, reason)
  }

  /** Logs that permissions forbid publishing here. Whoever waits for an answer gets a time-out. */
  private forbidden(subject: string): void {
    const place = subject.split('.', 2).join('.')
    if (this.forbiddenToPublish.has(place) || this.forbiddenToPublish.size === FORBIDDEN_TOLD_MAX) return
    this.forbiddenToPublish.add(place)
    this.options.log.warn(
      { subject: `${place}.>` },
      'NATS forbids publishing to these subjects; its permissions must allow it (deploy/nats.conf)',
    )
  }

  private async probe(): Promise<void> {
    if (!this.up || !this.answering) return
    const late = after('nats probe', PROBE_MS, () => {
      this.answering = false
    })
    await this.nc.flush().catch(() => {})
    clearTimeout(late)
    this.answering = true
  }
}
