import { connect } from 'nats'
import { freePort, TestNats } from './nats.ts'

/** Three real nats-servers that are one cluster. */
export class TestCluster {
  readonly nodes: readonly TestNats[]

  /** Resolves once the cluster takes streams of three replicas. */
  static async start(): Promise<TestCluster> {
    const ports = await Promise.all([freePort(), freePort(), freePort()])
    const routes = ports.map((port) => `nats://127.0.0.1:${port}`)
    const nodes = await Promise.all(
      routes.map((route, n) =>
        TestNats.start([
          '-js',
          '--server_name',
          `n${n}`,
          '--cluster_name',
          'test',
          '--cluster',
          route,
          '--routes',
          routes.join(','),
        ]),
      ),
    )
    const cluster = new TestCluster(nodes)
    const nc = await connect({ servers: cluster.url })
    for (;;) {
      const made = await nc
        .jetstreamManager()
        .then((jsm) =>
          jsm.streams
            .add({ name: 'READY', subjects: ['ready'], num_replicas: 3 })
            .then(() => jsm.streams.delete('READY')),
        )
        .catch(() => false)
      if (made) break
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    await nc.close()
    return cluster
  }

  private constructor(nodes: readonly TestNats[]) {
    this.nodes = nodes
  }

  /** Of all nodes. */
  get url(): string {
    return this.nodes.map(({ url }) => url).join(',')
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) await node.stop()
  }
}
