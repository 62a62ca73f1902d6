import { connect } from 'nats'
import { Child } from '../process/child.ts'
import type { Core } from '../machine/cores.ts'
import { removeFolder, temporaryFolder } from '../process/folder.ts'

/**
 * A real nats-server for one server under test, on a free port, with its data in a temporary folder and an empty stream
 * for the events.
 */
export interface Nats {
  readonly url: string
  stop(): Promise<void>
}

/** Roomcast's default stream, with the settings that Roomcast would create it with. */
const STREAM = { name: 'ROOMCAST_EVENTS', subjects: ['events.>'] }

export async function startNats(core: Core | undefined): Promise<Nats> {
  const folder = temporaryFolder()
  const child = new Child({
    name: 'nats-server',
    command: 'nats-server',
    args: ['-a', '127.0.0.1', '-p', '-1', '-js', '-sd', folder],
    core,
  })
  const [, address] = await child.waitForOutput(/Listening for client connections on (\S+)[\s\S]*Server is ready/)
  const url = `nats://${address}`
  const nc = await connect({ servers: url })
  const jsm = await nc.jetstreamManager()
  await jsm.streams.add(STREAM)
  await nc.close()
  return {
    url,
    async stop() {
      await child.kill()
      removeFolder(folder)
    },
  }
}
