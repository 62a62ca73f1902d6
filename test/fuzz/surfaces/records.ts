import { jsonBytes, msgpackBytes } from '../bodies.ts'
import { CONTRACTS } from '../commands.ts'
import type { Random } from '../random.ts'
import { RawNats } from '../raw-nats.ts'
import { Player, type Script } from '../script.ts'
import { surface } from '../surface.ts'
import { anyId, mutated, oddNumber, oddText, oddValue } from '../values.ts'
import { headerBlock, type NatsMessage, subjectToken } from './events.ts'
import { socketio } from './socketio.ts'

/** A record written past the broker; or a client whose commands read what is there. */
type Input = NatsMessage | Script

const NODE = '0badcafe'
const encoded = (text: string) => Buffer.from(text).toString('base64url')

export const records = surface<Input>({
  name: 'records',
  about:
    'keys and values of the key-value buckets, written past the broker, while Socket.IO clients use what stands in them',
  concurrency: 8,
  make: (random) => (random.chance(0.15) ? (socketio.make(random) as Script) : makeRecord(random)),
  open: async (world) => {
    const nats = await RawNats.connect(world.nats.port)
    const player = new Player(world.ports)
    return {
      send: (input) => ('steps' in input ? player.play(input) : nats.publish(input.subject, input.body, input.headers)),
      close: async () => {
        nats.close()
        player.close()
      },
    }
  },
})

function makeRecord(random: Random): NatsMessage {
  const { app } = random.pick(CONTRACTS)
  const user = encoded(`user-${random.int(500)}`)
  const place = encoded(random.pick(['p1', 'project:p1', oddText(random)]))
  const claims = {
    sub: `user-${random.int(500)}`,
    exp: random.chance(0.6) ? 4_000_000_000 : oddNumber(random),
    project_access: ['*'],
    roles: [],
    ownerId: anyId(random),
    name: 'Somebody',
  }
  const { bucket, key, value } = random.pick<{ bucket: string; key: string; value: unknown }>([
    {
      bucket: 'presence',
      key: `${app}.${place}.${user}.${NODE}`,
      value: random.pick<unknown>(['Somebody', '', oddText(random)]),
    },
    {
      bucket: 'locks',
      key: `${app}.${encoded(String(random.int(50)))}`,
      value: {
        app,
        resource: { projectId: 'p1', filePath: anyId(random) },
        holders: [{ userId: anyId(random), mode: random.pick(['exclusive', 'shared']) }],
      },
    },
    { bucket: 'lock_leases', key: `${app}.${user}`, value: '' },
    { bucket: 'participants', key: `${app}.${encoded('c1')}.${user}`, value: String(Date.now()) },
    {
      bucket: 'bans',
      key: `${app}.${user}`,
      value: random.pick<unknown>([String(Date.now() + 2_000), String(oddNumber(random)), oddText(random)]),
    },
    { bucket: 'sessions', key: random.pick(['s1', 's2', 'no.such', subjectToken(random)]), value: claims },
    {
      bucket: 'recovery',
      key: random.pick([`${'a'.repeat(32)}811c9dc5.abc-0`, subjectToken(random)]),
      value: {
        userId: claims.sub,
        rooms: ['project:p1', oddValue(random, 1)],
        places: oddValue(random, 2),
        identity: { claims, key: 's1' },
      },
    },
  ])
  const given = random.chance(0.5) ? value : mutated(value, random)
  const body =
    typeof given === 'string'
      ? Buffer.from(given)
      : random.one(
          () => jsonBytes(given, random),
          () => jsonBytes(given, random),
          () => msgpackBytes(given, random),
          () => random.bytes(random.int(60)),
        )
  return {
    subject: `$KV.roomcast_${bucket}.${random.chance(0.7) ? key : oddKey(key, random)}`,
    body,
    ...(random.chance(0.2) ? { headers: operation(random) } : undefined),
  }
}

function oddKey(key: string, random: Random): string {
  const tokens = key.split('.')
  const at = random.int(tokens.length)
  return random.one(
    () => tokens.slice(0, at + 1).join('.'),
    () => [...tokens.slice(0, at), subjectToken(random), ...tokens.slice(at)].join('.'),
    () =>
      [
        ...tokens.slice(0, at),
        random.pick(['!', '%', 'é', '=', '===', '__proto__', '-']),
        ...tokens.slice(at + 1),
      ].join('.'),
    () => subjectToken(random),
  )
}

function operation(random: Random): Buffer {
  const name = random.pick(['DEL', 'DEL', 'PURGE', 'PUT', 'X', ''])
  return random.chance(0.8)
    ? Buffer.from(`NATS/1.0\r\nKV-Operation: ${name}\r\n${name === 'PURGE' ? 'Nats-Rollup: sub\r\n' : ''}\r\n`)
    : headerBlock(false, random)
}
