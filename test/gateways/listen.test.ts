import { connect, type Socket } from 'node:net'
import t from 'tap'
import { listen, makeApp } from '../../src/gateways/listen.ts'

const HOST = '127.0.0.1'
const CROWD = 1_500
/** The kernel repeats what it dropped after a second. */
const REPEATED_MS = 700

t.test('of a crowd that comes at once nobody is dropped, to come a second later', { skip: process.platform !== 'linux' }, async (t) => {
  const listening = await listen(makeApp(undefined), HOST, 0, 'PORT')
  const sockets: Socket[] = []
  const connectedMs: number[] = []
  // Nothing is accepted before all have asked: the kernel shakes hands for a process that is busy.
  for (let i = 0; i < CROWD; i++) {
    const socket = connect(listening.port, HOST, () => connectedMs.push(performance.now()))
    socket.on('error', () => {})
    sockets.push(socket)
  }
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))))
  for (const socket of sockets) socket.destroy()
  listening.stop()
  t.equal(connectedMs.length, CROWD)
  t.ok(Math.max(...connectedMs) - Math.min(...connectedMs) < REPEATED_MS, 'none of them later than the others')
})

t.test('once stopped, nothing listens', async (t) => {
  const listening = await listen(makeApp(undefined), HOST, 0, 'PORT')
  listening.stop()
  listening.stop()
  const code = await new Promise((resolve) => connect(listening.port, HOST, () => resolve('connected')).once('error', (error: NodeJS.ErrnoException) => resolve(error.code)))
  t.equal(code, 'ECONNREFUSED')
})
