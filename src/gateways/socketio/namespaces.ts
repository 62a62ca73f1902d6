import { bareData, encodeSocketIoEvent, encodeSocketIoMessage, eventPrefix } from '../../codecs/socketio.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
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
    this.patterns = contracts.flatMap((contract) =>
      contract.contract.endpoints.flatMap((endpoint) =>
        endpoint.transport === 'socketio'
          ? [{ pattern: namespacePattern(endpoint.namespace), endpoint, contract }]
          : [],
      ),
    )
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
    const wire: Wire = {
      id: `sio${name}`,
      format: 'socketio',
      binary: false,
      encodeEvent: (event, position) =>
        encodeSocketIoEvent(prefix, event.type, handlerArguments({ ...event }, position), position),
      encodeMessage: (message) => encodeSocketIoMessage(prefix, message),
      publish: this.publish,
    }
    return {
      id: `${contract.app} ${name}`,
      name,
      parameter,
      endpoint,
      contract,
      wire,
      sockets: 0,
      sent: (frame) => start.equals(frame.subarray(0, start.length)),
    }
  }
}
