import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child } from '../process/child.ts'
import { temporaryFolder } from '../process/folder.ts'
import { subjectOf } from '../events/workload.ts'
import { freePort, type Peer } from './peer.ts'
import type { Probe } from './programs/probe.ts'

/** nats-server's own WebSocket: clients are NATS clients. It is publisher's server and clients' server in one. */
export const nats: Peer = {
  name: 'nats',
  title: "nats-server's WebSocket",
  about: '`websocket { no_tls: true, compression: false }`, core NATS; no JetStream, no authentication, no positions',
  async start({ workload, core, port }) {
    const listening = port || (await freePort())
    const file = join(temporaryFolder(), 'nats.conf')
    writeFileSync(
      file,
      `host: 127.0.0.1\nport: -1\nmax_connections: 1000000\nwebsocket {\n  host: 127.0.0.1\n  port: ${listening}\n  no_tls: true\n  compression: false\n}\n`,
    )
    const child = new Child<Probe>({
      name: "the server (nats-server's WebSocket)",
      command: 'nats-server',
      args: ['-c', file],
      core,
    })
    const [, address] = await child.waitForOutput(/Listening for client connections on (\S+)[\s\S]*Server is ready/)
    return {
      child,
      target: { dialect: 'nats', port: listening, path: '/', subscribe: subjectOf(workload) },
      publish: { url: `nats://${address}`, core: true },
      probed: false,
    }
  },
}
