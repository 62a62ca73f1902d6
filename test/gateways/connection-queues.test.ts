import t from 'tap'
import { ConnectionQueues, type QueueOwner, type QueueSocket } from '../../src/gateways/connection-queues.ts'

const LIMITS = { fullBytes: 10, waitingBytes: 100 }

/** A socket that is full as long as it is told so. */
class ModelSocket implements QueueSocket {
  readonly sent: string[] = []
  full = false
  asked = 0

  getBufferedAmount(): number {
    this.asked++
    return this.full ? LIMITS.fullBytes + 1 : 0
  }

  send(frame: Uint8Array | string): number {
    this.sent.push(String(frame))
    return 1
  }
}

class ModelOwner implements QueueOwner {
  overflows = 0
  readonly faults: unknown[] = []

  tooMuchWaiting(): void {
    this.overflows++
  }

  broke(error: unknown): void {
    this.faults.push(error)
  }
}

function open() {
  const socket = new ModelSocket()
  const owner = new ModelOwner()
  return { socket, owner, queues: new ConnectionQueues(LIMITS, owner, socket) }
}

t.test('frames wait in order while the socket is full, and none overtakes them', async (t) => {
  const { socket, queues } = open()
  queues.send('one', false)
  socket.full = true
  queues.send('two', false)
  socket.full = false
  queues.send('three', false)
  t.same(socket.sent, ['one'], 'what comes later waits behind what waits')
  t.equal(queues.heldBytes, 8)
  queues.proceed()
  t.same(socket.sent, ['one', 'two', 'three'])
  t.equal(queues.heldBytes, 0)
})

t.test('a command waits for the one before it, and while the socket could not take its answer', async (t) => {
  const { socket, queues } = open()
  const done: string[] = []
  let finish = () => {}
  const first = new Promise<void>((resolve) => {
    finish = resolve
  })
  t.notOk(queues.run(1, () => first.then(() => void done.push('first'))))
  t.notOk(queues.run(1, () => void done.push('second')))
  t.notOk(queues.idle)
  socket.full = true
  finish()
  await new Promise((resolve) => setImmediate(resolve))
  t.same(done, ['first'])
  socket.full = false
  queues.proceed()
  t.same(done, ['first', 'second'])
  t.ok(queues.idle)
  t.ok(queues.run(1, () => void done.push('third')))
})

t.test('a command that fails ends the connection, whether it waited or not', async (t) => {
  const { socket, owner, queues } = open()
  queues.run(1, async () => {
    throw new Error('at once')
  })
  await new Promise((resolve) => setImmediate(resolve))
  socket.full = true
  queues.run(1, () => {
    throw new Error('later')
  })
  socket.full = false
  queues.proceed()
  t.same(owner.faults.map(String), ['Error: at once', 'Error: later'])
})

t.test('what waits is bounded by bytes, but for one frame or command alone, and by number', async (t) => {
  const { socket, owner, queues } = open()
  socket.full = true
  queues.send('x'.repeat(LIMITS.waitingBytes + 1), false)
  t.equal(owner.overflows, 0)
  queues.send('x', false)
  t.equal(owner.overflows, 1)
  const many = open()
  many.socket.full = true
  for (let n = 0; n < 1_024; n++) many.queues.run(0, () => undefined)
  t.equal(many.owner.overflows, 0)
  many.queues.run(0, () => undefined)
  t.equal(many.owner.overflows, 1)
})

t.test('closed queues do nothing and ask the socket nothing: uWS throws on a socket that is gone', async (t) => {
  const { socket, queues } = open()
  socket.full = true
  queues.send('one', false)
  queues.run(1, () => t.fail('a command that waited ran') as never)
  queues.close()
  const { asked } = socket
  queues.send('two', false)
  queues.sendIfRoom('three', false)
  t.ok(queues.run(1, () => t.fail('a command ran') as never))
  queues.proceed()
  t.notOk(queues.full)
  t.equal(socket.asked, asked)
  t.same(socket.sent, [])
  t.equal(queues.heldBytes, 0)
})
