import t from 'tap'
import type { History, Mark } from './history.ts'
import { judge, type Truth } from './oracle.ts'

let clockMs = 0
const event = (n: number, seq = n + 1, epoch = 'a', room = 'all'): Mark => ({
  atMs: (clockMs += 10),
  what: 'event',
  room,
  n,
  epoch,
  seq,
})
const connected = (recovered?: boolean): Mark => ({
  atMs: (clockMs += 10),
  what: 'connected',
  ...(recovered === undefined ? undefined : { recovered }),
})
const disconnected = (): Mark => ({ atMs: (clockMs += 10), what: 'disconnected', reason: 'cut' })
const told = (): Mark => ({ atMs: (clockMs += 10), what: 'told', about: 'events_missed' })

const history = (marks: Mark[], kind: History['kind'] = 'raw', rooms = ['all']): History => ({
  client: 'c',
  kind,
  rooms,
  marks,
})
const truth = (
  count: number,
  { gone = [] as number[], destroys = false, repeated = [] as number[], twice = [] as number[] } = {},
): Truth => ({
  published: new Map([['all', count]]),
  stored: new Map(
    Array.from({ length: count }, (_, n) => [`all#${n}`, twice.includes(n) ? [n + 1, n + 2] : [n + 1]] as const).filter(
      (_, n) => !gone.includes(n),
    ),
  ),
  repeated: new Set(repeated.map((n) => `all#${n}`)),
  destroys,
})

t.test('everything once, in order, over reconnections: passed', async (t) => {
  t.match(judge(history([connected(), event(0), event(1), disconnected(), connected(), event(2)]), truth(3)), {
    passed: true,
    lost: 0,
    doubled: 0,
    disordered: 0,
    untold: 0,
    told: 0,
    faults: [],
  })
  t.match(
    judge(history([connected(), event(0), event(1), disconnected(), connected(true), event(2)], 'socket.io'), truth(3)),
    { passed: true, told: 0 },
  )
})

t.test('an event that is stored and did not come is lost, and untold', async (t) => {
  t.match(judge(history([event(0), event(2)]), truth(3)), { passed: false, lost: 1, untold: 1, missed: 0 })
  t.match(judge(history([event(0), event(1)]), truth(3)), { passed: false, lost: 1, untold: 1 }, 'the last one, too')
  t.match(
    judge(history([event(0, 1, 'a', 'one'), event(1, 2, 'a', 'one')], 'raw', ['one', 'two']), {
      ...truth(0),
      published: new Map([
        ['one', 2],
        ['two', 1],
      ]),
      stored: new Map([['two#0', [3]]]),
    }),
    { passed: false, lost: 1 },
    'a whole room, too',
  )
})

t.test('where nothing is destroyed nobody may be told so', async (t) => {
  t.match(judge(history([event(0), told(), event(1)]), truth(2)), { passed: false, told: 1, lost: 0, untold: 0 })
  t.match(judge(history([event(0), disconnected(), connected(false), event(1)], 'socket.io'), truth(2)), {
    passed: false,
    told: 1,
  })
  t.match(judge(history([event(0), told(), event(2)]), truth(3)), { passed: false, lost: 1, untold: 0, missed: 1 })
})

t.test('destroyed and told: passed; destroyed and untold: not', async (t) => {
  const world = truth(4, { gone: [0, 1, 2], destroys: true })
  t.match(judge(history([event(0), told(), event(3, 1, 'b')]), world), {
    passed: true,
    missed: 2,
    told: 1,
    untold: 0,
    lost: 0,
  })
  t.match(judge(history([event(0), event(3, 1, 'b')]), world), { passed: false, untold: 2, lost: 0 })
  t.match(judge(history([event(0), event(3, 1, 'b'), told()]), world), { passed: false, untold: 2 }, 'told too late')
  t.match(
    judge(history([told(), event(0), event(3, 1, 'b')]), world),
    { passed: false, untold: 2 },
    'told of something else',
  )
})

t.test('who was told gets what is still stored, but for a Socket.IO session that began anew', async (t) => {
  const world = truth(4, { gone: [0, 1], destroys: true })
  t.match(judge(history([event(0), told(), event(3, 2, 'b')]), world), { passed: false, lost: 1 })
  const marks = [event(0), disconnected(), connected(false), event(3, 2, 'b')]
  t.match(judge(history(marks, 'socket.io'), world), { passed: true, lost: 0, missed: 2 })
  t.match(
    judge(history(marks.slice(0, -1), 'socket.io'), world),
    { passed: false, lost: 2 },
    'but it gets something in the end',
  )
})

t.test('an event that comes again is doubled, unless it was stored again', async (t) => {
  t.match(judge(history([event(0), event(1), event(1)]), truth(2)), { passed: false, doubled: 1, disordered: 0 })
  t.match(judge(history([event(0), event(1, 2), event(1, 3)]), truth(2)), { passed: false, doubled: 1 })
  t.match(
    judge(history([event(0), event(1, 2), event(1, 3)]), truth(2, { twice: [1] })),
    { passed: true, doubled: 0 },
    'NATS has it twice',
  )
  const marks = [event(0), event(1), told(), event(1, 1, 'b'), event(2, 2, 'b')]
  t.match(judge(history(marks), truth(3, { destroys: true, repeated: [1] })), { passed: true, doubled: 0 })
  t.match(judge(history(marks), truth(3, { destroys: true })), { passed: false, doubled: 1 }, 'acknowledged once')
})

t.test('an event that comes behind later ones is disordered', async (t) => {
  t.match(judge(history([event(0), event(2), event(1)]), truth(3)), {
    passed: false,
    disordered: 1,
    lost: 0,
    doubled: 0,
  })
  t.match(
    judge(history([event(0, 1, 'a', 'one'), event(0, 3, 'a', 'two'), event(1, 2, 'a', 'one')], 'raw', ['one', 'two']), {
      ...truth(0),
      published: new Map([
        ['one', 2],
        ['two', 1],
      ]),
    }),
    { passed: false, disordered: 1, lost: 0 },
    'over rooms',
  )
  t.match(
    judge(history([event(0), told(), event(1, 1, 'b'), event(2, 3, 'a')]), truth(3, { destroys: true })),
    { passed: false, disordered: 1 },
    'of a stream that was over',
  )
})

t.test('silence and reconnections are measured', async (t) => {
  clockMs = 0
  const marks = [
    event(0),
    disconnected(),
    connected(true),
    event(1),
    { ...disconnected(), atMs: 100 },
    { ...disconnected(), atMs: 150 },
    { ...connected(true), atMs: 400 },
    { ...event(2), atMs: 500 },
  ]
  t.match(judge(history(marks, 'socket.io'), truth(3)), { longestSilenceMs: 460, reconnectsMs: [10, 300] })
})
