/** A fault: `actions.ts` says what it does. */
export type Kind =
  | 'broker-kill'
  | 'broker-stop'
  | 'broker-drain'
  | 'worker-kill'
  | 'worker-stop'
  | 'nats-kill'
  | 'nats-stop'
  | 'nats-wipe'
  | 'stream-delete'
  | 'stream-purge'
  | 'consumer-delete'
  | 'cut-clients'
  | 'stall-clients'
  | 'throttle-clients'
  | 'half-open-clients'
  | 'refuse-clients'
  | 'cut-nats'
  | 'stall-nats'
  | 'throttle-nats'
  | 'half-open-nats'
  | 'leader-kill'
  | 'follower-kill'
  | 'quorum-loss'
  | 'node-restart'

/** Faults that follow each other; several lanes run at the same time. */
export interface Lane {
  readonly kinds: readonly Kind[]
  /** From the end of one fault to the start of the next, at least and at most. */
  readonly pauseMs: readonly [number, number]
}

export interface Schedule {
  readonly name: string
  readonly about: string
  readonly lanes: readonly Lane[]
  readonly brokers?: number
  readonly workers?: number
  /** nats-servers. */
  readonly nodes?: number
  /** What was stored may go: clients may be told that something is missing. */
  readonly destroys?: true
}

const each = (kind: Kind, pauseMs: readonly [number, number] = [800, 2_000]): readonly Lane[] => [
  { kinds: [kind], pauseMs },
]

export const SCHEDULES: readonly Schedule[] = [
  { name: 'broker-kill', about: 'the broker is killed and started again', lanes: each('broker-kill') },
  {
    name: 'broker-stop',
    about: 'the broker stands still for up to 5 s (SIGSTOP), while the stream grows',
    lanes: each('broker-stop'),
  },
  {
    name: 'worker-kill',
    about: 'of two workers one is killed or stands still',
    lanes: [{ kinds: ['worker-kill', 'worker-kill', 'worker-stop'], pauseMs: [800, 2_000] }],
    workers: 2,
  },
  {
    name: 'two-brokers-kill',
    about: 'of two brokers one is killed: its clients come back to the other',
    lanes: each('broker-kill'),
    brokers: 2,
  },
  {
    name: 'drain-restart',
    about: 'brokers leave in order (SIGTERM), as in an upgrade',
    lanes: each('broker-drain'),
    brokers: 2,
  },
  { name: 'nats-kill', about: 'nats-server is killed and started again', lanes: each('nats-kill') },
  { name: 'nats-stop', about: 'nats-server stands still for up to 5 s (SIGSTOP)', lanes: each('nats-stop') },
  {
    name: 'nats-wipe',
    about: 'nats-server is killed and comes back with an empty store, the broker cut off before that',
    lanes: each('nats-wipe', [2_000, 3_000]),
    destroys: true,
  },
  {
    name: 'stream-delete',
    about: 'the stream is deleted',
    lanes: each('stream-delete', [2_000, 3_000]),
    destroys: true,
  },
  { name: 'stream-purge', about: 'the stream is purged', lanes: each('stream-purge', [1_000, 2_500]), destroys: true },
  {
    name: 'consumer-delete',
    about: 'every consumer of the stream is deleted',
    lanes: each('consumer-delete', [300, 2_500]),
  },
  { name: 'cut-clients', about: 'connections of clients are reset', lanes: each('cut-clients', [200, 1_000]) },
  { name: 'stall-clients', about: 'connections of clients stand still', lanes: each('stall-clients', [300, 1_200]) },
  {
    name: 'throttle-clients',
    about: 'connections of clients carry little',
    lanes: each('throttle-clients', [300, 1_200]),
  },
  {
    name: 'half-open-clients',
    about: "one end of clients' connections is gone, and the other does not hear of it",
    lanes: each('half-open-clients', [500, 1_500]),
  },
  {
    name: 'nats-down-cut',
    about: 'nats-server is killed or stands still, and clients come back meanwhile',
    lanes: [
      { kinds: ['nats-kill', 'nats-stop'], pauseMs: [1_000, 2_000] },
      { kinds: ['cut-clients'], pauseMs: [400, 1_200] },
    ],
  },
  { name: 'cut-nats', about: 'the connection to NATS is reset', lanes: each('cut-nats', [200, 1_500]) },
  {
    name: 'stall-nats',
    about: 'the connection to NATS stands still, carries little, or one end of it is gone',
    lanes: [{ kinds: ['stall-nats', 'stall-nats', 'throttle-nats', 'half-open-nats'], pauseMs: [500, 1_500] }],
  },
  {
    name: 'mixed',
    about: 'two brokers, and all of it at once but for what destroys history',
    brokers: 2,
    lanes: [
      {
        kinds: [
          'broker-kill',
          'broker-stop',
          'broker-drain',
          'nats-kill',
          'nats-stop',
          'consumer-delete',
          'cut-nats',
          'stall-nats',
          'half-open-nats',
        ],
        pauseMs: [500, 1_500],
      },
      {
        kinds: ['cut-clients', 'stall-clients', 'throttle-clients', 'half-open-clients', 'refuse-clients'],
        pauseMs: [300, 1_000],
      },
    ],
  },
  {
    name: 'mixed-loss',
    about: 'two brokers, and all of it at once',
    brokers: 2,
    destroys: true,
    lanes: [
      {
        kinds: ['broker-kill', 'nats-kill', 'nats-wipe', 'stream-delete', 'stream-purge', 'cut-nats'],
        pauseMs: [1_000, 2_000],
      },
      { kinds: ['cut-clients', 'stall-clients', 'half-open-clients'], pauseMs: [300, 1_000] },
    ],
  },
  {
    name: 'leader-kill',
    about: 'of three nodes the one that leads the stream is killed, and clients come back meanwhile',
    lanes: [...each('leader-kill', [1_500, 2_500]), ...each('cut-clients', [1_000, 3_000])],
    nodes: 3,
  },
  {
    name: 'follower-kill',
    about: 'of three nodes one that follows is killed',
    lanes: each('follower-kill', [1_500, 2_500]),
    nodes: 3,
  },
  { name: 'quorum-loss', about: 'of three nodes two are killed', lanes: each('quorum-loss', [2_000, 3_000]), nodes: 3 },
  {
    name: 'cluster-rolling',
    about: 'three nodes are restarted one after another, two brokers on them',
    lanes: each('node-restart', [500, 1_500]),
    nodes: 3,
    brokers: 2,
  },
]
