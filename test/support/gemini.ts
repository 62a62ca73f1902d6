import { JSONCodec, type Subscription } from 'nats'
import { type TestBroker, token } from './broker.ts'
import type { TestNats } from './nats.ts'
import { SocketIoClient, type SocketIoOptions } from './socketio-client.ts'

const codec = JSONCodec()

/** A command as services get it. */
export interface Request {
  readonly type: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they please.
  readonly data: any
  readonly user_id: string
  readonly connection_id: string
  readonly session_id: string
  readonly timestamp: string
}

export const addressOf = ({ geminiSessionsPort }: { geminiSessionsPort: number }) =>
  `http://127.0.0.1:${geminiSessionsPort}`

let users = 0
/** A name that no other test has. */
export const someone = (name: string) => `${name}-${users++}`

export type Options = SocketIoOptions & { readonly user?: string; readonly claims?: Record<string, unknown> }

export async function connect(
  broker: { geminiSessionsPort: number },
  { user = someone('user'), claims = { session_access: ['*'] }, ...options }: Options = {},
): Promise<SocketIoClient> {
  return SocketIoClient.connect(addressOf(broker), { token: token(user, claims), ...options })
}

export const connectAdmin = (broker: TestBroker, options: Options = {}) =>
  connect(broker, { user: someone('admin'), claims: { roles: ['admin'] }, ...options })

/** Emits, and waits for what is answered. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into it as they please.
export async function ask(client: SocketIoClient, answer: string, command: string, ...args: unknown[]): Promise<any> {
  const count = client.of(answer).length
  client.socket.emit(command, ...args)
  return nth(client, answer, count)
}

/** The first argument of an event's handler, by the event's number. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into it as they please.
export async function nth(client: SocketIoClient, event: string, index = 0): Promise<any> {
  await client.until(() => client.of(event).length > index)
  return client.of(event)[index]?.[0]
}

export const join = (client: SocketIoClient, sessionId: string) =>
  ask(client, 'session-joined', 'join-session', { sessionId })

export async function publish(nats: TestNats, type: string, data: object, rest: object = {}): Promise<void> {
  await (await nats.jetstream()).publish(`events.gemini-sessions.${type}`, codec.encode({ data, ...rest }))
}

/** A service that answers commands. */
export async function serve(
  nats: TestNats,
  command: string,
  answer: (request: Request) => unknown,
): Promise<{ requests: Request[]; stop(): void }> {
  const nc = await nats.client()
  const requests: Request[] = []
  const subscription: Subscription = nc.subscribe(`commands.gemini-sessions.${command}`, {
    callback: (_, message) => {
      const request = message.json<Request>()
      requests.push(request)
      const reply = answer(request)
      if (reply instanceof Uint8Array) message.respond(reply)
      else if (reply !== undefined) message.respond(codec.encode(reply))
    },
  })
  await nc.flush()
  return { requests, stop: () => subscription.unsubscribe() }
}
