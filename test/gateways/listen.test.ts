import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import t from 'tap'
import { listen, makeApp } from '../../src/gateways/listen.ts'

const HOST = '127.0.0.1'
const CROWD = 1_500
/**
 * State of a connection whose request the server's kernel has not taken: it will be repeated a second later
 * (include/net/tcp_states.h).
 */
const SYN_SENT = '02'

t.test(
  'of a crowd that comes at once nobody is dropped, to come a second later',
  { skip: process.platform !== 'linux' },
  async (t) => {
    const { port, stop } = await listen(makeApp(undefined), HOST, 0, 'PORT')
    // Nothing is accepted before all have asked: the kernel shakes hands for a process that is busy.
    const sockets = Array.from({ length: CROWD }, () => connect(port, HOST).on('error', () => {}))
    await new Promise<void>((resolve) => process.nextTick(resolve))
    const states = statesOf(port)
    for (const socket of sockets) socket.destroy()
    stop()
    t.ok(states.length >= CROWD, 'all have asked')
    t.equal(states.filter((state) => state === SYN_SENT).length, 0)
  },
)

t.test('once stopped, nothing listens', async (t) => {
  const listening = await listen(makeApp(undefined), HOST, 0, 'PORT')
  listening.stop()
  listening.stop()
  const code = await new Promise((resolve) =>
    connect(listening.port, HOST, () => resolve('connected')).once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code),
    ),
  )
  t.equal(code, 'ECONNREFUSED')
})

/** States of the connections to a port, as their clients have them. */
function statesOf(port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const rows = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)
  return rows.flatMap((row) => {
    const [, , remote = '', state = ''] = row.trim().split(/\s+/)
    return remote.endsWith(wanted) ? [state] : []
  })
}
