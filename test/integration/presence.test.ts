import t from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

t.test("a killed node's users leave within its lease, and stay where they are elsewhere too", async (t) => {
  const nats = await TestNats.start()
  const [one, two] = [await TestBroker.start({ NATS_URL: nats.url }), await TestBroker.start({ NATS_URL: nats.url })]
  const clients: SocketIoClient[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await one.stop()
    await two.stop()
    await nats.stop()
  })
  const connect = async (at: TestBroker, user: string) => {
    const client = await SocketIoClient.connect(`http://127.0.0.1:${at.port}/portal`, {
      token: token(user, { project_access: ['*'] }),
      options: { reconnection: false },
    })
    clients.push(client)
    client.socket.emit('join_project', { project_name: 'p' })
    await client.until(() => client.of('joined_project').length === 1)
    return client
  }
  const watcher = await connect(one, 'watcher')
  await connect(two, 'gone')
  await connect(two, 'both')
  await connect(one, 'both')
  await eventually(() => watcher.of('user_joined').length === 2)
  await two.kill('SIGKILL')
  await eventually(() => watcher.of('user_left').length === 1, 60_000)
  t.same(
    watcher.of('user_left').map(([{ user_id }]) => user_id),
    ['gone'],
  )
  const late = await connect(one, 'late')
  t.equal(late.of('joined_project')[0]?.[0].active_users, 3, 'watcher, both and late')
  t.same(
    watcher
      .of('user_joined')
      .map(([{ user_id }]) => user_id)
      .sort(),
    ['both', 'gone', 'late'],
  )
})
