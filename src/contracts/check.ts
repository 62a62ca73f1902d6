import { BrokerError } from '../errors.ts'
import type { Contract, SocketIoEndpoint, WebSocketEndpoint } from './contract.ts'
import { nearest } from './nearest.ts'
import { namespacePattern, roomPattern } from './patterns.ts'
import { MAIN_PORT, portOf, portsOf } from './ports.ts'
import { RESERVED_EVENTS } from './reserved.ts'
import { CONTRACT, type Fields, type Kind } from './shape.ts'
import { sharedSubject, subjectFaults } from './subjects.ts'

/** Reports a wrong field of a contract, such as `rooms["store:{id}"].allow`, and the reason. */
type Report = (place: string, reason: string) => void

const FAULTS_MAX = 20

/**
 * Checks that a value has the shape of a contract and that nothing in it is without effect: an access function under a
 * misspelt name would leave a door open. Compiling the contract checks its schemas.
 * @throws BrokerError CONTRACT_INVALID with every fault, one line each
 */
export function checkContract(contract: Contract): void {
  const faults: string[] = []
  const name = typeof contract?.app === 'string' ? contract.app.slice(0, 64) : '(no app)'
  if (!isObject(contract)) faults.push('the file exports no contract; export default defineContract({…})')
  else {
    checkFields(contract as unknown as Record<string, unknown>, CONTRACT, '', (place, reason) =>
      faults.push(`\`${place}\` ${reason}`),
    )
    // The shape is right; now check the meaning.
    if (faults.length === 0) checkMeaning(contract, (place, reason) => faults.push(`\`${place}\` ${reason}`))
  }
  if (faults.length > 0)
    throw new BrokerError(
      'CONTRACT_INVALID',
      faults
        .slice(0, FAULTS_MAX)
        .map((fault) => `Contract ${name}: ${fault}`)
        .join('\n'),
      faults,
    )
}

/**
 * Checks that contracts do not conflict.
 * @throws BrokerError CONTRACT_INVALID if two of them claim the same application, path or namespace, or disagree on the
 * default of a port
 */
export function checkTogether(contracts: readonly Contract[]): void {
  const taken = new Map<string, string>()
  for (const contract of contracts) {
    const { app, endpoints } = contract
    const port = portOf(contract)
    const take = (what: string) => {
      const by = taken.get(what)
      if (by !== undefined)
        throw new BrokerError(
          'CONTRACT_INVALID',
          `Contract ${app}: ${what} is ${by === app ? 'there twice' : `taken by the contract ${by}`}`,
        )
      taken.set(what, app)
    }
    take(`the application "${app}"`)
    for (const endpoint of endpoints)
      take(
        endpoint.transport === 'websocket'
          ? `the path ${endpoint.path} on ${port}`
          : `the namespace ${endpoint.namespace.replaceAll(/\{[^}]*\}/g, '{}')} on ${port}`,
      )
  }
  for (const one of contracts)
    for (const other of contracts) {
      const pattern = one === other ? undefined : sharedSubject(one, other)
      if (pattern !== undefined)
        throw new BrokerError(
          'CONTRACT_INVALID',
          `Contract ${one.app}: \`subjects["${pattern}"]\` takes subjects that the contract ${other.app} reads`,
        )
    }
  for (const port of [MAIN_PORT, ...portsOf(contracts).map(({ option }) => option)])
    checkOrder(contracts.filter((contract) => portOf(contract) === port))
}

/** Namespaces are matched in order, so a namespace that an earlier pattern matches could never be reached. */
function checkOrder(contracts: readonly Contract[]): void {
  const before: { pattern: RegExp; namespace: string; app: string }[] = []
  for (const { app, endpoints } of contracts) {
    for (const { namespace } of endpoints.filter(
      (endpoint): endpoint is SocketIoEndpoint => endpoint.transport === 'socketio',
    )) {
      const sample = sampleOf(namespace)
      const earlier = before.find(({ pattern }) => pattern.test(sample))
      if (earlier)
        throw new BrokerError(
          'CONTRACT_INVALID',
          `Contract ${app}: the namespace ${namespace} comes after ${earlier.namespace} of ${earlier.app}, which takes whoever connects to it`,
        )
      before.push({ pattern: namespacePattern(namespace), namespace, app })
    }
  }
}

/** Renamed words of the contract language, old to new. */
const RENAMED: ReadonlyMap<string, string> = new Map([
  ['effect', 'action'],
  ['say', 'broadcast'],
  ['recall', 'query'],
  ['digest', 'summary'],
  ['answer', 'query'],
  ['shows', 'projection'],
  ['questions', 'clientRequests'],
  ['remember', 'lastValue'],
  ['subject', 'entity'],
  ['of', 'read'],
  ['enter', 'joinPresence'],
  ['exit', 'leavePresence'],
  ['place', 'channel'],
  ['record', 'audit'],
])

function checkFields(value: Record<string, unknown>, fields: Fields, place: string, report: Report): void {
  const at = (key: string) => (place === '' ? key : `${place}.${key}`)
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(fields, key) || value[key] === undefined) continue
    const now = RENAMED.get(key)
    if (now !== undefined && Object.hasOwn(fields, now)) {
      report(at(key), `is called \`${now}\` now`)
      continue
    }
    const near = nearest(key, Object.keys(fields))
    report(
      at(key),
      `is nothing that a contract says here; ${near === undefined ? `there are ${Object.keys(fields).join(', ')}` : `did you mean \`${near}\`?`}`,
    )
  }
  for (const [key, kind] of Object.entries(fields)) {
    if (value[key] !== undefined) checkKind(value[key], kind, at(key), report)
    else if (kind.needed) report(at(key), 'is missing')
  }
}

function checkKind(value: unknown, kind: Kind, place: string, report: Report): void {
  switch (kind.is) {
    case 'function':
      if (typeof value !== 'function') report(place, `wants a function, and is ${nameOf(value)}`)
      return
    case 'text':
      if (typeof value !== 'string' || value === '') report(place, `wants a text, and is ${nameOf(value)}`)
      return
    case 'flag':
      if (typeof value !== 'boolean') report(place, `wants true or false, and is ${nameOf(value)}`)
      return
    case 'true':
      if (value !== true) report(place, `is true or left out, and here it is ${nameOf(value)}`)
      return
    case 'schema':
      if (!isObject(value)) report(place, `wants a schema (Type.Object({…})), and is ${nameOf(value)}`)
      return
    case 'number':
      if (typeof value !== 'number' || !Number.isInteger(value) || value < kind.min || value > kind.max)
        report(place, `wants a whole number from ${kind.min} to ${kind.max}, and is ${nameOf(value)}`)
      return
    case 'word':
      if (!kind.of.includes(value as string)) report(place, `is ${nameOf(value)}; there are ${kind.of.join(', ')}`)
      return
    case 'list':
      if (!Array.isArray(value)) return report(place, `wants a list, and is ${nameOf(value)}`)
      for (const key of Object.keys(value))
        if (!/^\d+$/.test(key))
          report(`${place}.${key}`, 'is nothing that a contract says here: a list has items alone')
      for (const [index, item] of value.entries()) checkKind(item, kind.of, `${place}[${index}]`, report)
      return
    case 'map':
      if (!isObject(value)) return report(place, `wants an object, and is ${nameOf(value)}`)
      for (const [key, item] of Object.entries(value)) checkKind(item, kind.of, `${place}["${key}"]`, report)
      return
    case 'object':
      if (!isObject(value)) return report(place, `wants ${kind.wanted ?? 'an object'}, and is ${nameOf(value)}`)
      checkFields(value, kind.fields, place, report)
      return
    case 'variant': {
      if (!isObject(value)) return report(place, `wants an object, and is ${nameOf(value)}`)
      const chosen = value[kind.by]
      const fields = kind.of.get(chosen as string)
      if (fields) return checkFields(value, fields, place, report)
      const now = RENAMED.get(chosen as string)
      if (now !== undefined && kind.of.has(now))
        return report(`${place}.${kind.by}`, `"${chosen}" is called "${now}" now`)
      const near = typeof chosen === 'string' ? nearest(chosen, [...kind.of.keys()]) : undefined
      report(
        `${place}.${kind.by}`,
        `is ${nameOf(chosen)}; ${near === undefined ? '' : `did you mean "${near}"? `}there are ${[...kind.of.keys()].join(', ')}`,
      )
    }
  }
}

/** Checks what the shape alone cannot express. */
function checkMeaning(contract: Contract, report: Report): void {
  const { app, port, endpoints, events, rooms = {}, commands = {}, locks, clientRequests, idPattern } = contract
  if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(app)) report('app', 'wants lower case letters, digits and dashes')
  if (port && !/^[A-Z][A-Z0-9_]*_PORT$/.test(port.option))
    report('port.option', `wants capitals, digits and _, and _PORT at the end (without \`port\` it is ${MAIN_PORT})`)
  checkClaims(contract, report)
  for (const [place, reason] of subjectFaults(contract)) report(place, reason)
  if (endpoints.length === 0) report('endpoints', 'names no endpoint')
  for (const [index, endpoint] of endpoints.entries()) {
    if (endpoint.transport === 'websocket') checkPath(endpoint, portOf(contract), `endpoints[${index}]`, report)
    else checkNamespace(endpoint, `endpoints[${index}]`, report)
  }
  const types = Object.keys(events)
  if (types.length === 0) report('events', 'names no event')
  for (const type of types)
    if (!isSubject(type))
      report(
        `events["${type}"]`,
        'is no name for an event: NATS subjects have no blanks, `*` and `>`, and no empty part between dots',
      )
  if (idPattern !== undefined) checkPattern(idPattern, report)
  checkRooms(
    Object.entries(rooms).map(([name, { record }]) => ({ name, record })),
    idPattern,
    report,
  )
  checkEventRooms(contract, report)
  const namespaces = endpoints.flatMap((endpoint) => (endpoint.transport === 'socketio' ? [endpoint.namespace] : []))
  if (namespaces.length > 0)
    for (const type of types)
      if (RESERVED_EVENTS.has(type))
        report(`events["${type}"]`, 'is a name of Socket.IO itself: a client that gets it ends its connection')
  for (const [name, { action, namespaces: known = [] }] of Object.entries(commands)) {
    const place = `commands["${name}"]`
    for (const namespace of known)
      if (!namespaces.includes(namespace)) report(`${place}.namespaces`, `names ${namespace}, and no endpoint has it`)
    if ((action.use === 'lock' || action.use === 'unlock') && !locks)
      report(`${place}.action`, `is ${action.use}; \`locks\` says which events that makes`)
    if (action.use === 'forward' && !isSubject(name))
      report(
        place,
        'is no name for a command with a service: NATS subjects have no blanks, `*` and `>`, and no empty part between dots',
      )
    const named =
      action.use === 'query' || action.use === 'joinPresence' || action.use === 'leavePresence'
        ? (action.events ?? [])
        : []
    for (const type of named)
      if (!Object.hasOwn(events, type)) report(`${place}.action.events`, `names "${type}", and there is no such event`)
    if ((action.use === 'join' || action.use === 'leave') && !action.room && !action.rooms)
      report(`${place}.action`, 'wants `room` or `rooms`')
  }
  if (clientRequests && namespaces.length === 0)
    report('clientRequests', 'are answered by Socket.IO clients, and there is no such endpoint')
}

/** Claims of a token that are no lists (RFC 7519, 4.1, and `name`), and names that every object has. */
const NO_LISTS = ['sub', 'exp', 'nbf', 'iat', 'iss', 'aud', 'jti', 'name']

function checkClaims({ claims = [], access = [] }: Contract, report: Report): void {
  for (const [index, claim] of claims.entries())
    if (NO_LISTS.includes(claim) || claim in Object.prototype)
      report(`claims[${index}]`, `is "${claim}", which is no list of texts`)
  for (const [index, { claim }] of access.entries()) {
    if (claims.includes(claim)) continue
    const near = nearest(claim, claims)
    report(
      `access[${index}].claim`,
      `is "${claim}", and \`claims\` does not declare it; ${near === undefined ? `there are ${claims.join(', ') || 'none'}` : `did you mean "${near}"?`}`,
    )
  }
}

/** uWebSockets.js reads `:` and `*` as patterns, and a path ends at `?` or `#`. */
function checkPath({ path }: WebSocketEndpoint, port: string, place: string, report: Report): void {
  if (!path.startsWith('/')) report(place, 'wants a leading slash in its `path`')
  else if (/[^\w\-.~!$&'()+,;=@%/]/.test(path))
    report(place, "has a `path` that is none: letters, digits, and -._~!$&'()+,;=@% between slashes")
  else if (/^\/socket\.io(\/|$)/.test(path)) report(place, 'has a `path` at which Socket.IO is')
  else if (port === MAIN_PORT && /^\/api(\/|$)/.test(path)) report(place, 'has a `path` at which the HTTP API is')
}

function checkNamespace({ namespace }: SocketIoEndpoint, place: string, report: Report): void {
  if (!namespace.startsWith('/')) report(place, 'wants a leading slash in its `namespace`')
  else if (/[,?#\s]/.test(namespace))
    report(place, 'has a blank, a comma, `?` or `#` in its `namespace`: no client can connect to it')
  else if (!/^[^{}]*(\{\w+\}[^{}]*)?$/.test(namespace))
    report(place, 'has a `namespace` with more than one parameter, as /project/{name} has, or with a brace alone')
}

function checkPattern(idPattern: string, report: Report): void {
  try {
    new RegExp(`^(${idPattern})$`)
  } catch {
    report('idPattern', 'is no regular expression')
  }
}

/** Patterns are tried in order, so a pattern whose rooms an earlier one matches would never apply. */
function checkRooms(
  rooms: readonly { name: string; record: unknown }[],
  idPattern: string | undefined,
  report: Report,
): void {
  const before: { name: string; pattern: RegExp }[] = []
  for (const { name, record } of rooms) {
    const place = `rooms["${name}"]`
    if (!/^([^{}]|\{\w+\})+$/.test(name)) {
      report(place, 'is no pattern: an id stands in braces, as in store:{id}')
      continue
    }
    if (record !== undefined && !name.includes('{'))
      report(`${place}.record`, 'is found by the id, and the room has none in braces')
    let pattern: RegExp
    try {
      pattern = roomPattern(name, idPattern)
    } catch {
      // The `idPattern` was reported.
      return
    }
    const sample = sampleOf(name)
    const earlier = pattern.test(sample) ? before.find((other) => other.pattern.test(sample)) : undefined
    if (earlier) report(place, `comes after "${earlier.name}", which takes its rooms`)
    before.push({ name, pattern })
  }
}

/** An event without `rooms` has a room named after it, and every subscriber of the event is in that room. */
function checkEventRooms({ events, rooms = {}, idPattern }: Contract, report: Report): void {
  const guarded = Object.entries(rooms).filter(
    ([, { allows, record, projection }]) => (allows ?? record ?? projection) !== undefined,
  )
  for (const [type, { rooms: own }] of Object.entries(events)) {
    if (own) continue
    for (const [name] of guarded) {
      try {
        if (roomPattern(name, idPattern).test(type))
          report(
            `events["${type}"]`,
            `is the name of a room of "${name}" too, which is not for everybody, and whoever subscribes to the event would be in it; rename one of them`,
          )
      } catch {
        // The `idPattern` was reported.
      }
    }
  }
}

function sampleOf(pattern: string): string {
  return pattern.replaceAll(/\{[^}]*\}/g, 'a')
}

function isSubject(type: string): boolean {
  return /^[^\s*>.]+(\.[^\s*>.]+)*$/.test(type)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function nameOf(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'boolean' || typeof value === 'number')
    return String(value)
  if (typeof value === 'string') return `"${value.slice(0, 100)}"`
  return Array.isArray(value) ? 'a list' : typeof value === 'function' ? 'a function' : `a ${typeof value}`
}
