import { connect } from 'nats'
import { Child } from '../process/child.ts'
import type { Core } from '../machine/cores.ts'
import { removeFolder, temporaryFolder } from '../process/folder.ts'

/**
 * A real nats-server for one server under test, on a free port, its data in a temporary folder. The events' stream is
 * there, empty.
 */
export interface Nats {
  readonly url: string
  stop(): Promise<void>
}

/** Roomcast's default, with the settings that it would make it with. */
const STREAM = { name: 'ROOMCAST_EVENTS', subjects: ['events.>'] }

export async function startNats(core: Core | undefined): Promise<Nats> {
  const folder = temporaryFolder()
  const child = new Child({
    name: 'nats-server',
    command: 'nats-server',
    args: ['-a', '127.0.0.1', '-p', '-1', '-js', '-sd', folder],
    core,
  })
  const [, address] = await child.says(/Listening for client connections on (\S+)[\s\S]*Server is ready/)
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
