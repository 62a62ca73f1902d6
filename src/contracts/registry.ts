import { BrokerError } from '../errors.ts'
import { LogEntry } from '../log/entry.ts'
import { type Reading, readEvent } from '../log/body.ts'
import { decodeEnvelope, type EventEnvelope, type StoredMessage } from '../log/event.ts'
import type { Meters } from '../meters.ts'
import { checkContract, checkTogether } from './check.ts'
import { CompiledContract, type ParticipantsOf } from './compiled.ts'
import type { CommandContract, Contract } from './contract.ts'
import { type CompiledSubject, compileSubjects } from './subjects.ts'

const SUBJECT_PREFIX = 'events.'

export interface RegistryOptions {
  readonly contracts: readonly Contract[]
  /** The commands of the raw protocol itself. */
  readonly builtIn: Readonly<Record<string, CommandContract>>
  readonly participantsOf: ParticipantsOf
  readonly meters: Meters
  /**
   * Called for a body that is no event, and for an event that no contract knows.
   * @param place the subject, or its pattern and the type: what is reported once in a while
   */
  readonly onBad: (place: string, subject: string, type: string, error: BrokerError) => void
  /** Bound on what a zipped body unfolds to. */
  readonly bodyBytesMax: number
}

/** All contracts of this broker, by application; turns stored messages into routed events. */
export class Registry {
  readonly contracts = new Map<string, CompiledContract>()
  private readonly options: RegistryOptions
  /** Subjects that contracts name themselves. */
  private readonly mapped: readonly (CompiledSubject & { readonly contract: CompiledContract })[]

  constructor(options: RegistryOptions) {
    this.options = options
    const { contracts, builtIn, participantsOf } = options
    contracts.forEach(checkContract)
    checkTogether(contracts)
    for (const contract of contracts) {
      this.contracts.set(
        contract.app,
        new CompiledContract(
          contract,
          contract.endpoints.some(({ transport }) => transport === 'websocket') ? builtIn : {},
          participantsOf,
        ),
      )
    }
    this.mapped = [...this.contracts.values()].flatMap((contract) =>
      compileSubjects(contract.contract).map((subject) => ({ ...subject, contract })),
    )
  }

  /** Drops the last values from events after this sequence: the stream no longer has them. */
  forget(afterSeq: number): void {
    for (const { lastValues } of this.contracts.values()) lastValues.forget(afterSeq)
  }

  /** The patterns of subjects that contracts read, besides `events.>`. */
  get subjects(): readonly string[] {
    return this.mapped.map(({ pattern }) => pattern)
  }

  /** Reads and routes a stored message. A bad one is counted, reported and left out. */
  route(message: StoredMessage, position: string): LogEntry | undefined {
    const { subject, body, seq } = message
    let envelope: EventEnvelope | undefined
    try {
      const { contract, type, reading } = this.place(subject)
      envelope = this.decode(message, type, reading)
      const route = contract.route(envelope, seq, body.length)
      if (route === undefined)
        throw new BrokerError('UNKNOWN_EVENT', `The contract of ${contract.app} has no event "${envelope.type}"`)
      this.options.meters.events++
      this.options.meters.eventBytes += body.length
      return new LogEntry(message, position, route, envelope, this.read)
    } catch (error) {
      const known =
        error instanceof BrokerError
          ? error
          : new BrokerError('INVALID_EVENT', `The contract's functions failed on it: ${String(error)}`)
      this.leftOut(subject, envelope?.type, known)
      return undefined
    }
  }

  /** Decodes a stored message again. @throws BrokerError */
  readonly read = (message: StoredMessage): EventEnvelope => {
    const { type, reading } = this.place(message.subject)
    return this.decode(message, type, reading)
  }

  private decode(message: StoredMessage, type: string, reading: Reading | undefined): EventEnvelope {
    return message.headers === undefined && reading === undefined
      ? decodeEnvelope(message.body, message.msgpack, type, message.timeMs)
      : readEvent(message, type, reading, this.options.bodyBytesMax)
  }

  /** Counts it under labels that contracts alone can multiply, and reports it once a minute for each. */
  private leftOut(subject: string, bodyType: string | undefined, error: BrokerError): void {
    const { meters, onBad } = this.options
    if (error.code === 'INVALID_EVENT') meters.badEvents++
    else meters.unknownEvents++
    const tokens = subject.split('.')
    const mapped = this.mapped.find(({ match }) => match(tokens) !== undefined)
    const contract = mapped?.contract ?? this.contractOf(subject)
    const pattern = mapped?.pattern ?? (contract === undefined ? 'events.>' : `events.${contract.app}.>`)
    const type = bodyType ?? mapped?.match(tokens)?.type ?? subject.slice(pattern.length - 1)
    const known = contract?.event(type) === undefined ? '-' : type
    meters.leftOut(contract?.app ?? '-', pattern, known.includes(' ') ? '-' : known, error.code)
    onBad(mapped === undefined ? subject : `${mapped.pattern} ${type}`, subject, type, error)
  }

  /**
   * The contract of a subject, what its events are by the subject, and how bodies are read.
   * @throws BrokerError UNKNOWN_APP
   */
  private place(subject: string): { contract: CompiledContract; type: string; reading: Reading | undefined } {
    if (this.mapped.length > 0) {
      const tokens = subject.split('.')
      for (const { contract, match } of this.mapped) {
        const reading = match(tokens)
        if (reading !== undefined) return { contract, type: reading.type, reading }
      }
    }
    return this.find(subject)
  }

  private contractOf(subject: string): CompiledContract | undefined {
    return subject.startsWith(SUBJECT_PREFIX) ? this.contracts.get(appIn(subject)) : undefined
  }

  /** The contract and event type of a subject of Roomcast's own. @throws BrokerError UNKNOWN_APP */
  find(subject: string): { contract: CompiledContract; type: string; reading: undefined } {
    const contract = this.contractOf(subject)
    if (!contract)
      throw new BrokerError(
        'UNKNOWN_APP',
        `No contract serves "${appIn(subject)}"; there are ${[...this.contracts.keys()].join(', ')}`,
      )
    return { contract, type: subject.slice(SUBJECT_PREFIX.length + contract.app.length + 1), reading: undefined }
  }
}

/** The second token of a subject that has a third; empty: it has none. */
function appIn(subject: string): string {
  const dot = subject.indexOf('.', SUBJECT_PREFIX.length)
  return dot === -1 ? '' : subject.slice(SUBJECT_PREFIX.length, dot)
}
