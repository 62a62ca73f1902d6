import type { Meters } from '../meters.ts'
import { BrokerError } from '../errors.ts'
import { LogEntry } from '../log/entry.ts'
import { decodeEnvelope, type StoredMessage } from '../log/event.ts'
import { checkContract, checkTogether } from './check.ts'
import { CompiledContract, type ParticipantsOf } from './compiled.ts'
import type { CommandContract, Contract } from './contract.ts'

const SUBJECT_PREFIX = 'events.'

export interface RegistryOptions {
  readonly contracts: readonly Contract[]
  /** The commands of the raw protocol itself. */
  readonly builtIn: Readonly<Record<string, CommandContract>>
  readonly participantsOf: ParticipantsOf
  readonly meters: Meters
  /** Called for a body that is no event, and for an event that no contract knows. */
  readonly onBad: (subject: string, error: BrokerError) => void
}

/** All contracts of this broker, by application; turns stored messages into routed events. */
export class Registry {
  readonly contracts = new Map<string, CompiledContract>()
  private readonly options: RegistryOptions

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
  }

  /** Drops the last values from events after this sequence: the stream no longer has them. */
  forget(afterSeq: number): void {
    for (const { lastValues } of this.contracts.values()) lastValues.forget(afterSeq)
  }

  /** Reads and routes a stored message. A bad one is counted, reported and left out. */
  route(message: StoredMessage, position: string): LogEntry | undefined {
    const { subject, body, msgpack, timeMs, seq } = message
    try {
      const { contract, type } = this.find(subject)
      const envelope = decodeEnvelope(body, msgpack, type, timeMs)
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
      if (known.code === 'INVALID_EVENT') this.options.meters.badEvents++
      else this.options.meters.unknownEvents++
      this.options.onBad(subject, known)
      return undefined
    }
  }

  private readonly read = ({ subject, body, msgpack, timeMs }: StoredMessage) =>
    decodeEnvelope(body, msgpack, this.find(subject).type, timeMs)

  /** The contract and event type of a subject. @throws BrokerError UNKNOWN_APP */
  find(subject: string): { contract: CompiledContract; type: string } {
    const dot = subject.indexOf('.', SUBJECT_PREFIX.length)
    const app = dot === -1 ? '' : subject.slice(SUBJECT_PREFIX.length, dot)
    const contract = subject.startsWith(SUBJECT_PREFIX) ? this.contracts.get(app) : undefined
    if (!contract)
      throw new BrokerError(
        'UNKNOWN_APP',
        `No contract serves "${app}"; there are ${[...this.contracts.keys()].join(', ')}`,
      )
    return { contract, type: subject.slice(dot + 1) }
  }
}
