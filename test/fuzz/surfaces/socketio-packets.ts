import { jsonText } from '../bodies.ts'
import { type SocketIoApplication, validCommand } from '../commands.ts'
import type { Random } from '../random.ts'
import { anyToken, validToken } from '../tokens.ts'
import { mutated, ODD_KEYS, oddText, oddValue } from '../values.ts'

/** Socket.IO packets of one client: text ones without Engine.IO's `4`, attachments as bytes. */
export type SocketIoPacket = string | Uint8Array

const RESERVED = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener', 'message']

/** What a client of an application sends, from CONNECT on; it need not begin with it. */
export function packetsOf(application: SocketIoApplication, random: Random): SocketIoPacket[] {
  const namespaces = random.chance(0.7)
    ? [random.pick(application.namespaces)]
    : [
        ...application.namespaces,
        '/none',
        '/project/',
        '/project/a%2fb',
        `/chat/${'x'.repeat(129)}`,
        '/__proto__',
        '/project/p1',
      ]
  const packets: SocketIoPacket[] = []
  for (const namespace of namespaces) if (random.chance(0.92)) packets.push(connectPacket(namespace, random))
  for (const group of random.some(30, () => packetGroup(random.pick(namespaces), application, random)))
    packets.push(...group)
  if (random.chance(0.1))
    packets.splice(random.int(packets.length + 1), 0, connectPacket(random.pick(namespaces), random))
  return packets
}

const prefixOf = (namespace: string) => (namespace === '/' ? '' : `${namespace},`)

function connectPacket(namespace: string, random: Random): string {
  const auth: Record<string, unknown> = {
    ...(random.chance(0.85) ? { token: random.chance(0.85) ? validToken(random) : anyToken(random) } : undefined),
  }
  if (random.chance(0.25))
    Object.assign(auth, {
      pid: random.pick(['{pid}', pid(random)]),
      ...(random.chance(0.7)
        ? { offset: random.pick<unknown>(['{offset}', 'abc-0', '-', oddValue(random, 1)]) }
        : undefined),
    })
  const body = random.chance(0.9) ? auth : mutated(auth, random)
  return `0${prefixOf(namespace)}${random.chance(0.05) && Object.keys(auth).length === 0 ? '' : jsonText(body, random)}`
}

/** A private id of every shape. */
function pid(random: Random): unknown {
  return random.one<unknown>(
    () => `${'a'.repeat(32)}811c9dc5.${random.pick(['abc-0', `${'e'.repeat(40)}-9999999999999999`, '0-0'])}`,
    () => `${random.bytes(16).toString('hex')}${random.bytes(4).toString('hex')}.{offset}`,
    () => '{pid}x',
    () => `${'A'.repeat(40)}.${'b'.repeat(41)}-1`,
    () => oddValue(random, 2),
  )
}

function packetGroup(namespace: string, application: SocketIoApplication, random: Random): SocketIoPacket[] {
  const prefix = prefixOf(namespace)
  const ack = random.chance(0.4)
    ? random.pick(['0', '1', '17', '9007199254740991', '99999999999999999', '007', '-1', '1.5'])
    : ''
  return random.one<SocketIoPacket[]>(
    () => [`2${prefix}${ack}${jsonText(eventValues(application, random), random)}`],
    () => [`2${prefix}${ack}${jsonText(eventValues(application, random), random)}`],
    () => [`2${prefix}${ack}${jsonText(mutated(eventValues(application, random), random), random)}`],
    () => [
      `2${prefix}${ack}${jsonText([random.pick([...ODD_KEYS, ...RESERVED, oddText(random)]), ...random.some(3, () => oddValue(random))], random)}`,
    ],
    () => binaryGroup(prefix, ack, application, random),
    () => [
      `3${prefix}${ack}${jsonText(
        random.some(3, () => oddValue(random, 2)),
        random,
      )}`,
    ],
    () => [
      random.pick([
        `1${prefix}`,
        `1${prefix}{}`,
        `4${prefix}{"message":"x"}`,
        `6${prefix}1-1[{"_placeholder":true,"num":0}]`,
        '7',
        '',
        '2',
        '2[]',
        '2[1]',
        '2{}',
        `2${prefix}null`,
        '0',
        `0${prefix}`,
        `${random.int(10)}${oddText(random)}`,
      ]),
    ],
  )
}

/** An event with attachments: as many as it says, or more, or fewer, or none. */
function binaryGroup(prefix: string, ack: string, application: SocketIoApplication, random: Random): SocketIoPacket[] {
  const [type, ...args] = eventValues(application, random)
  const attachments = random.int(4)
  const placeholders = Array.from({ length: attachments }, (_, num) => ({
    _placeholder: true,
    num: random.chance(0.9) ? num : random.pick<unknown>([-1, 99, '0', null, 1.5, '__proto__']),
  }))
  const count = random.chance(0.8) ? attachments : random.pick([0, 1, 10, 1e9, '-1', 'x', '1e9', ''])
  return [
    `${random.pick([5, 5, 6])}${count}-${prefix}${ack}${jsonText([type, ...args, ...placeholders], random)}`,
    ...random.some(attachments + 1, () => random.bytes(random.int(40))),
  ]
}

/** A valid event packet's values. Those that log in get a token. */
function eventValues({ contract }: SocketIoApplication, random: Random): unknown[] {
  if (random.chance(0.15)) {
    const token = anyToken(random)
    return random.pick([
      ['authenticate', { token }],
      ['auth:session', { sessionId: token }],
      ['auth:session', { sessionId: random.pick(['s1', 'no.such', oddText(random)]) }],
      ['authenticate', { token, user_id: 'user-1' }],
    ])
  }
  const { type, data } = validCommand(contract, random)
  return random.chance(0.8) ? [type, data] : [type, data, ...random.some(3, () => oddValue(random, 2))]
}
