import { bareData, encodeSocketIoEvent, encodeSocketIoMessage, eventPrefix } from '../../codecs/socketio.ts'
import { CompiledContract } from '../../contracts/compiled.ts'
import type { SocketIoEndpoint } from '../../contracts/contract.ts'
import { namespacePattern } from '../../contracts/patterns.ts'
import type { Wire } from '../../hub/wire.ts'

/** One namespace that clients are in: an endpoint, its parameter filled in. */
export interface Namespace {
  /** Tells it from all others, of whatever application. */
  readonly id: string
  readonly name: string
  readonly parameter: string
  readonly endpoint: SocketIoEndpoint
  readonly contract: CompiledContract
  readonly wire: Wire
  /** The same, without the position as the last argument. Nothing is published on it: see `SocketIoSocket`. */
  readonly wireWithoutPositions: Wire
  /** How many sockets are in it. */
  sockets: number
  /** Whether an event frame is of this namespace. */
  sent(frame: Uint8Array): boolean
}

interface Pattern {
  readonly pattern: RegExp
  readonly endpoint: SocketIoEndpoint
  readonly contract: CompiledContract
}

/** The Socket.IO namespaces of one port, whichever contracts they are of. */
export class Namespaces {
  private readonly patterns: readonly Pattern[]
  private readonly publish: Wire['publish']
  /** Those that clients are in. */
  private readonly used = new Map<string, Namespace>()

  /** @param publish publishes an event frame to a native topic */
  constructor(contracts: readonly CompiledContract[], publish: Wire['publish']) {
    const declared = contracts.flatMap((contract) =>
      contract.contract.endpoints.flatMap((endpoint) =>
        endpoint.transport === 'socketio' ? [patternOf(endpoint, contract)] : [],
      ),
    )
    this.patterns = [...declared, rootOf(declared)]
    this.publish = publish
  }

  /** The namespace of a name. @returns undefined where no contract declares it */
  find(name: string): Namespace | undefined {
    const known = this.used.get(name)
    if (known) return known
    for (const { pattern, endpoint, contract } of this.patterns) {
      const match = pattern.exec(name)
      if (match) return this.make(name, match[1] ?? '', endpoint, contract)
    }
    return undefined
  }

  /** The one that is in use under this name, so that all who are in it share one wire. */
  inUse(namespace: Namespace): Namespace {
    return this.used.get(namespace.name) ?? namespace
  }

  opened(namespace: Namespace): void {
    if (namespace.sockets++ === 0) this.used.set(namespace.name, namespace)
  }

  closed(namespace: Namespace): void {
    if (--namespace.sockets === 0) this.used.delete(namespace.name)
  }

  private make(name: string, parameter: string, endpoint: SocketIoEndpoint, contract: CompiledContract): Namespace {
    const prefix = eventPrefix(name)
    const start = Buffer.from(`${prefix}[`)
    const handlerArguments = endpoint.handlerArguments ?? bareData
    const wireOf = (kind: string, positions: boolean): Wire => ({
      id: `${kind}${name}`,
      format: 'socketio',
      binary: false,
      encodeEvent: (event, position) =>
        encodeSocketIoEvent(
          prefix,
          event.type,
          handlerArguments({ ...event }, position),
          positions ? position : undefined,
        ),
      encodeMessage: (message) => encodeSocketIoMessage(prefix, message),
      publish: this.publish,
    })
    return {
      id: `${contract.app} ${name}`,
      name,
      parameter,
      endpoint,
      contract,
      wire: wireOf('sio', true),
      wireWithoutPositions: wireOf('bare', false),
      sockets: 0,
      sent: (frame) => start.equals(frame.subarray(0, start.length)),
    }
  }
}

function patternOf(endpoint: SocketIoEndpoint, contract: CompiledContract): Pattern {
  return { pattern: namespacePattern(endpoint.namespace), endpoint, contract }
}

/**
 * `/` is always there, as in the reference server: some clients open it before any other. Where no contract has it,
 * nothing happens in it, and it takes a token unless no namespace of the port does.
 */
function rootOf(declared: readonly Pattern[]): Pattern {
  const anonymous = declared.every(({ endpoint }) => endpoint.anonymous === true)
  const endpoint: SocketIoEndpoint = { transport: 'socketio', namespace: '/', anonymous }
  // No application has this name.
  const contract = new CompiledContract({ app: '/', endpoints: [endpoint], events: {} }, {}, () => [])
  return patternOf(endpoint, contract)
}
