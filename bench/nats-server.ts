import { connect } from 'nats'
import { Child } from './child.ts'
import type { Core } from './cores.ts'
import { temporaryFolder } from './folder.ts'

/** A real nats-server for one bench, on a free port, its data in a temporary folder. */
export interface Nats {
  readonly url: string
  /** Makes the events' stream anew, empty: sequences count from 1. */
  resetStream(): Promise<void>
  stop(): Promise<void>
}

/** Roomcast's default, with the settings that it would make it with. */
const STREAM = { name: 'ROOMCAST_EVENTS', subjects: ['events.>'] }

export async function startNats(core: Core | undefined): Promise<Nats> {
  const child = new Child({ name: 'nats-server', command: 'nats-server', args: ['-a', '127.0.0.1', '-p', '-1', '-js', '-sd', temporaryFolder()], core })
  const [, address] = await child.says(/Listening for client connections on (\S+)[\s\S]*Server is ready/)
  const url = `nats://${address}`
  const nc = await connect({ servers: url })
  const jsm = await nc.jetstreamManager()
  return {
    url,
    async resetStream() {
      for await (const { config } of jsm.streams.list()) if (config.name === STREAM.name) await jsm.streams.delete(STREAM.name)
      await jsm.streams.add(STREAM)
    },
    async stop() {
      await nc.close()
      await child.kill()
    },
  }
}
