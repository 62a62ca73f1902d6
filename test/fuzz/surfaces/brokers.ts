import { jsonBytes, msgpackBytes } from '../bodies.ts'
import { CONTRACTS } from '../commands.ts'
import { RawNats } from '../raw-nats.ts'
import { surface } from '../surface.ts'
import { anyId, mutated, ODD_KEYS, oddText, oddValue } from '../values.ts'
import { headerBlock, type NatsMessage, subjectToken } from './events.ts'

interface Input extends NatsMessage {
  readonly reply?: string
}

const APPS = [...CONTRACTS.map(({ app }) => app), 'fuzz']

export const brokers = surface<Input>({
  name: 'brokers',
  about: 'what brokers tell and ask each other: roomcast.say, roomcast.find, roomcast.ask',
  concurrency: 1,
  make: (random) => {
    const app = random.pick(APPS)
    const message = random.chance(0.5)
      ? {
          type: random.pick([
            'user:typing',
            'chat:typing',
            'user_joined',
            'told',
            ...ODD_KEYS,
            'connect',
            'disconnect',
            'connect_error',
          ]),
          data: oddValue(random, 2),
          ...(random.chance(0.3) ? { args: random.some(3, () => oddValue(random, 2)) } : undefined),
        }
      : oddValue(random)
    const room = random.pick<unknown>([
      'global',
      'everyone',
      'project:p1',
      'monitoring',
      'room:p1',
      'chat:p1',
      'session:s1',
      ['global', 'everyone'],
      [oddText(random)],
      oddValue(random, 2),
    ])
    const value = random.chance(0.7) ? { room, message } : mutated({ room, message }, random)
    const subject = random.pick([
      `roomcast.say.${app}`,
      `roomcast.say.${app}`,
      `roomcast.say.${app}`,
      `roomcast.find.${app}`,
      `roomcast.ask.${app}.${subjectToken(random)}`,
      `roomcast.${subjectToken(random)}`,
    ])
    const body = random.one(
      () => jsonBytes(value, random),
      () => jsonBytes(value, random),
      () => jsonBytes(value, random),
      () => msgpackBytes(value, random),
      () => Buffer.from(anyId(random)),
      () => random.bytes(random.int(60)),
    )
    return {
      subject,
      body,
      ...(random.chance(0.1) ? { headers: headerBlock(false, random) } : undefined),
      ...(random.chance(0.3)
        ? { reply: random.pick(['_INBOX.fuzz', 'events.game-djinn.sync_started', `roomcast.say.${app}`, 'fuzz']) }
        : undefined),
    }
  },
  open: async (world) => {
    const nats = await RawNats.connect(world.nats.port)
    return {
      send: ({ subject, body, headers, reply }) => nats.publish(subject, body, headers, reply),
      close: async () => nats.close(),
    }
  },
})
