import { SOCKET_IO_APPLICATIONS } from '../commands.ts'
import type { Random } from '../random.ts'
import { Player, roughened, type Script, type Step, upgradeText } from '../script.ts'
import { surface } from '../surface.ts'
import { anyToken } from '../tokens.ts'
import { urlPart } from '../values.ts'
import { type SocketIoPacket, packetsOf } from './socketio-packets.ts'

export const socketio = surface<Script>({
  name: 'socketio',
  about:
    'Socket.IO packets over WebSocket: four applications and their namespaces, recovery, acknowledgements, attachments',
  concurrency: 64,
  make: makeSocketIoSession,
  open: async (world) => {
    const player = new Player(world.ports)
    return { send: (script) => player.play(script), close: async () => player.close() }
  },
})

function makeSocketIoSession(random: Random): Script {
  const application = random.pick(SOCKET_IO_APPLICATIONS)
  const token = random.chance(0.2) ? `&token=${urlPart(anyToken(random))}` : ''
  const steps: Step[] = [
    { open: application.port },
    { text: upgradeText(`/socket.io/?EIO=4&transport=websocket${token}`) },
    { waitMs: 200 },
  ]
  for (const packet of packetsOf(application, random)) {
    steps.push(frameOf(packet))
    // CONNECT is answered later where it recovers; what follows at once is the hard case.
    if (random.chance(0.08)) steps.push({ waitMs: random.int(20) })
    if (random.chance(0.02))
      steps.push({ frame: random.pick(['3', '1', '2', '2probe', '5', '6', '0{}', '3probe', '']) })
  }
  return { steps: roughened(steps, random), stays: random.chance(0.15) }
}

function frameOf(packet: SocketIoPacket): Step {
  return { frame: typeof packet === 'string' ? `4${packet}` : packet }
}
