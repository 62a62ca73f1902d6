import { io } from 'socket.io-client'
import { jsonBytes, msgpackBytes } from '../bodies.ts'
import { CONTRACTS } from '../commands.ts'
import type { Random } from '../random.ts'
import { RawNats } from '../raw-nats.ts'
import { Player, type Script, upgradeText } from '../script.ts'
import { surface } from '../surface.ts'
import { signed, validToken } from '../tokens.ts'
import { anyId, mutated, ODD_KEYS, oddText, oddValue } from '../values.ts'
import { headerBlock } from './events.ts'

interface Reply {
  readonly body: Uint8Array
  readonly headers?: Uint8Array
  readonly times: number
}

interface Question {
  readonly subject: string
  /** `{connection}` in it stands for that of a client that answers. */
  readonly body: Uint8Array
  readonly answer: readonly unknown[]
}

/** A client whose commands a service answers so; or a question of a service that a client answers so. */
type Input = { readonly script: Script; readonly reply: Reply } | { readonly question: Question }

export const replies = surface<Input>({
  name: 'replies',
  about: 'services that answer commands with anything, and what they ask clients',
  concurrency: 16,
  make: (random) =>
    random.chance(0.3) ? { question: makeQuestion(random) } : { script: makeCaller(random), reply: makeReply(random) },
  open: async (world) => {
    const waiting: Reply[] = []
    const service = await RawNats.connect(world.nats.port, ['commands.>'], (_, inbox) => {
      const reply = waiting.shift()
      if (inbox !== '' && reply)
        for (let i = 0; i < reply.times; i++) void service.publish(inbox, reply.body, reply.headers)
    })
    const asking = await RawNats.connect(world.nats.port)
    const player = new Player(world.ports)
    let answer: readonly unknown[] = []
    const client = io(`http://127.0.0.1:${world.ports.PORT}/fuzz`, {
      auth: { token: signed(JSON.stringify({ sub: 'answering', exp: 4_000_000_000 })) },
      transports: ['websocket'],
      forceNew: true,
    })
    client.on('choose', (...args) => (args[args.length - 1] as (...values: unknown[]) => void)(...answer))
    await new Promise<void>((resolve) => client.once('connect', resolve))
    return {
      send: async (input) => {
        if ('question' in input) {
          const { subject, body, answer: given } = input.question
          answer = given
          const text = Buffer.from(body)
            .toString('latin1')
            .replace('{connection}', client.id ?? '')
          await asking.publish(subject, Buffer.from(text, 'latin1'), undefined, '_INBOX.fuzz.answers')
          await new Promise((resolve) => setTimeout(resolve, 2))
          return
        }
        if (waiting.length > 100) waiting.splice(0, 50)
        waiting.push(input.reply)
        await player.play(input.script)
      },
      close: async () => {
        client.disconnect()
        service.close()
        asking.close()
        player.close()
      },
    }
  },
})

function makeCaller(random: Random): Script {
  const token = validToken(random)
  const raw = (path: string, message: unknown): Script['steps'] => [
    { open: 'PORT' },
    { text: upgradeText(`${path}?token=${token}`) },
    { waitMs: 200 },
    { frame: JSON.stringify(message) },
    { frame: JSON.stringify(message) },
    { waitMs: random.pick([0, 20, 40]) },
  ]
  const socketIo = (
    port: 'PORT' | 'GEMINI_SESSIONS_PORT' | 'CODING_ASSISTANT_PORT',
    namespace: string,
    ...packets: readonly unknown[][]
  ): Script['steps'] => {
    const prefix = namespace === '/' ? '' : `${namespace},`
    return [
      { open: port },
      { text: upgradeText('/socket.io/?EIO=4&transport=websocket') },
      { waitMs: 200 },
      { frame: `40${prefix}${JSON.stringify({ token })}` },
      { waitMs: 100 },
      ...packets.map((packet, index) => ({ frame: `42${prefix}${index}${JSON.stringify(packet)}` })),
      { waitMs: 20 },
      { waitMs: random.pick([0, 20, 40]) },
    ]
  }
  const steps = random.one<Script['steps']>(
    () =>
      raw('/ws', {
        type: 'ai_chat_message',
        data: { message: 'x', context: { conversation_id: anyId(random) } },
        id: anyId(random),
      }),
    () => raw('/fuzz', { type: random.pick(['call', 'count']), data: oddValue(random, 2) }),
    () => socketIo('PORT', '/fuzz', [random.pick(['call', 'count']), oddValue(random, 2)], ['count', {}]),
    () => socketIo('PORT', '/chat/p1', ['send_message', { content: '/run', type: 'command' }]),
    () =>
      socketIo(
        'CODING_ASSISTANT_PORT',
        '/',
        ['ai:message', { message: 'x', projectId: 'p1' }],
        [
          'batch:update',
          {
            updates: [
              { event: 'ai:message', data: { message: 'y' } },
              { event: 'ai:message', data: { message: 'z' } },
            ],
          },
        ],
      ),
    () =>
      socketIo(
        'GEMINI_SESSIONS_PORT',
        '/',
        ['join-session', { sessionId: 's1' }],
        [
          random.pick(['tool:list', 'tool:execute', 'chat:cancel', 'chat:message', 'tool:approve']),
          { name: 'x', content: 'y', callId: 'z' },
        ],
      ),
  )
  return { steps, stays: random.chance(0.1) }
}

function makeReply(random: Random): Reply {
  const success = { ok: true, data: random.pick<unknown>([{ count: 1 }, { tools: [] }, oddValue(random)]) }
  const failure = {
    ok: false,
    error: {
      code: random.pick(['RATE_LIMITED', 'AUTH_FAILED', ...ODD_KEYS, oddText(random)]),
      message: random.pick<unknown>(['no', oddText(random), oddValue(random, 1)]),
      details: oddValue(random),
    },
  }
  const value = random.one<unknown>(
    () => success,
    () => failure,
    () => mutated(success, random),
    () => mutated(failure, random),
    () => oddValue(random),
  )
  const body = random.chance(0.85)
    ? jsonBytes(value, random)
    : random.one(
        () => msgpackBytes(value, random),
        () => Buffer.alloc(0),
        () => random.bytes(random.int(60)),
        () => Buffer.from(`{"ok":true,"data":"${'x'.repeat(900_000)}"}`),
      )
  return {
    body,
    times: random.pick([1, 1, 1, 2, 0]),
    ...(random.chance(0.15) ? { headers: headerBlock(false, random) } : undefined),
  }
}

function makeQuestion(random: Random): Question {
  const value = {
    connection_id: random.chance(0.8) ? '{connection}' : random.pick(['none', '__proto__', oddText(random)]),
    type: random.chance(0.8) ? 'choose' : oddText(random),
    data: random.chance(0.8) ? { of: random.some(3, () => oddValue(random, 2)) } : oddValue(random),
    ...(random.chance(0.5) ? { timeout_ms: random.pick<unknown>([10, 100, 1, 0, 1e9, 'x', 1.5, 60_000]) } : undefined),
  }
  const given = random.chance(0.6) ? value : mutated(value, random)
  return {
    subject: `ask.${random.chance(0.85) ? 'fuzz' : random.pick([...CONTRACTS.map(({ app }) => app), 'none'])}`,
    body: random.chance(0.95) ? jsonBytes(given, random) : msgpackBytes(given, random),
    answer: random.some(3, () => oddValue(random)),
  }
}
