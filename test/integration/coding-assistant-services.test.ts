import t from 'tap'
import { CodingAssistant, first, someone } from '../support/coding-assistant.ts'

const all = await CodingAssistant.start()

/** A service behind ai:message. */
async function service(
  respond: (request: { json<T>(): T; respond(body: Uint8Array): boolean }) => void,
): Promise<() => Promise<void>> {
  const nc = await all.nats.client()
  const subscription = nc.subscribe('commands.coding-assistant.ai:message', {
    callback: (_, message) => respond(message),
  })
  await nc.flush()
  return async () => {
    subscription.unsubscribe()
    await nc.flush()
  }
}

const GARBAGE = {
  'no JSON': 'nonsense',
  'no reply': '{}',
  'a number': '7',
  'no error': '{"ok":false}',
  'bad UTF-8': Buffer.from([0xff, 0xfe]),
  'an empty body': '',
}

t.test(
  'without a service, and with one that is silent, refuses or answers garbage: a clear error to the sender; the message stays',
  async (t) => {
    const project = someone('project')
    const sender = await all.login(0, someone('sender'), [`project:${project}`])
    const other = await all.login(1, someone('other'), [`project:${project}`])
    let asked = 0
    const ask = async (code: string, message: RegExp | string = /./) => {
      asked++
      t.match(
        await sender.ask('ai:message', { message: `${asked}`, projectId: project }),
        { status: 'success' },
        'it is stored',
      )
      const { messageId } = await first(other, 'ai:message', asked)
      t.match(await first(sender, 'error', asked), { code, message, event: 'ai:message', messageId }, code)
      await sender.until(() => sender.of('ai:processing').length === asked)
      t.match(sender.of('ai:processing')[asked - 1]?.[0], {
        status: 'error',
        error: message,
        code,
        messageId,
        projectId: project,
      })
    }
    await ask('SERVICE_UNAVAILABLE')
    const silent = await service(() => {})
    await ask('TIMEOUT')
    await silent()
    const refusing = await service((request) =>
      request.respond(Buffer.from('{"ok":false,"error":{"code":"QUOTA_EXCEEDED","message":"Tomorrow again"}}')),
    )
    await ask('QUOTA_EXCEEDED', 'Tomorrow again')
    await refusing()
    for (const body of Object.values(GARBAGE)) {
      const garbage = await service((request) => request.respond(Buffer.from(body)))
      await ask('BAD_REPLY')
      await garbage()
    }
    t.equal(other.of('error').length, 0)
  },
)

t.test("a service gets the caller's identity and answers by events", async (t) => {
  const project = someone('project')
  const user = someone('asker')
  const sender = await all.login(0, user, [`project:${project}`])
  const other = await all.login(1, someone('other'), [`project:${project}`])
  let seen: Record<string, unknown> = {}
  const stop = await service((request) => {
    seen = request.json()
    request.respond(Buffer.from('{"ok":true}'))
    void all.publish('ai:processing', { projectId: project, status: 'started' })
    void all.publish('ai:response', {
      projectId: project,
      response: { text: 'Here it is', actions: [{ type: 'open' }] },
    })
  })
  sender.socket.emit('ai:message', {
    message: 'Create a component',
    projectId: project,
    context: { language: 'javascript' },
  })
  for (const client of [sender, other]) {
    t.match(await first(client, 'ai:response'), { response: { text: 'Here it is', actions: [{ type: 'open' }] } })
    t.match(await first(client, 'ai:processing'), { status: 'started' })
  }
  const { messageId } = await first(other, 'ai:message')
  t.match(seen, {
    type: 'ai:message',
    data: {
      messageId,
      message: 'Create a component',
      projectId: project,
      userId: user,
      context: { language: 'javascript' },
    },
    user_id: user,
    connection_id: sender.socket.id,
    timestamp: /Z$/,
  })
  t.equal(sender.of('error').length, 0)
  await stop()
})
