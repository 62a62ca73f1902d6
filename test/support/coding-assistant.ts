import t, { type Test } from 'tap'
import { TestBroker, token } from './broker.ts'
import { TestNats } from './nats.ts'
import { SocketIoClient, type SocketIoOptions } from './socketio-client.ts'

export const PROJECT = 'project-123'

let users = 0
/** A user of one test's own. */
export const someone = (name: string) => `${name}-${users++}`

/** A real nats-server, two brokers on it, and clients of Coding Assistant; all gone when the test file ends. */
export class CodingAssistant {
  readonly nats: TestNats
  readonly brokers: readonly [TestBroker, TestBroker]
  private readonly clients: SocketIoClient[] = []

  static async start(env: Readonly<Record<string, string | number>> = {}): Promise<CodingAssistant> {
    const nats = await TestNats.start()
    const one = await TestBroker.start({ NATS_URL: nats.url, COMMAND_TIMEOUT_MS: 500, ...env })
    const two = await TestBroker.start({ NATS_URL: nats.url, COMMAND_TIMEOUT_MS: 500, ...env })
    const all = new CodingAssistant(nats, [one, two])
    t.teardown(async () => {
      for (const client of all.clients) client.close()
      for (const broker of all.brokers) await broker.stop()
      await nats.stop()
    })
    return all
  }

  private constructor(nats: TestNats, brokers: readonly [TestBroker, TestBroker]) {
    this.nats = nats
    this.brokers = brokers
  }

  /** A client that has yet to say who it is. @param at which broker, or a port */
  async connect(at: 0 | 1, options: SocketIoOptions = {}): Promise<SocketIoClient> {
    return this.connectTo((this.brokers[at] as TestBroker).codingAssistantPort, options)
  }

  async connectTo(port: number, options: SocketIoOptions = {}, namespace = ''): Promise<SocketIoClient> {
    const client = new SocketIoClient(`http://127.0.0.1:${port}${namespace}`, { token: null, ...options })
    this.clients.push(client)
    return client.connected()
  }

  /** A client that is logged in, with access to all projects unless the claims say otherwise, and in these rooms. */
  async login(
    at: 0 | 1,
    user: string,
    rooms: readonly string[] = [],
    options: SocketIoOptions & { claims?: object } = {},
  ): Promise<SocketIoClient> {
    const client = await this.connect(at, options)
    client.socket.emit('auth:session', { sessionId: token(user, { project_access: ['*'], ...options.claims }) })
    for (const room of rooms) client.socket.emit('room:join', { room })
    await client.until(() => client.of('auth:login').length === 1 && client.of('room:joined').length === rooms.length)
    return client
  }

  async publish(type: string, data: object, rest: object = {}): Promise<void> {
    const js = await this.nats.jetstream()
    await js.publish(`events.coding-assistant.${type}`, Buffer.from(JSON.stringify({ data, ...rest })))
  }

  async sessions() {
    return (await this.nats.jetstream()).views.kv('roomcast_sessions')
  }

  /** Keeps a session as the application's login service would. @returns its id */
  async keepSession(user: string, claims: object = {}, sessionId = `session-${user}`): Promise<string> {
    const kept = {
      sub: user,
      exp: Math.floor(Date.now() / 1000) + 3600,
      name: user.toUpperCase(),
      project_access: ['*'],
      ...claims,
    }
    await (await this.sessions()).put(sessionId, Buffer.from(JSON.stringify(kept)))
    return sessionId
  }
}

/** First data of an event, once it is there. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into it as they please.
export async function first(client: SocketIoClient, event: string, count = 1): Promise<any> {
  await client.until(() => client.of(event).length >= count)
  return client.of(event)[count - 1]?.[0]
}

/** What was sent to a client before has arrived. */
export async function settle(...clients: SocketIoClient[]): Promise<void> {
  for (const client of clients) await client.ask('test:ping')
}

/** How often each event came. */
export function counts(client: SocketIoClient, ...events: string[]): number[] {
  return events.map((event) => client.of(event).length)
}

export type { Test }
