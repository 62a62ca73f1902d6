import { defineContract, Type } from 'roomcast'

/** What the five applications do not have: questions to clients, replies with a schema, both transports in one. */
export default defineContract({
  app: 'fuzz',
  endpoints: [
    { transport: 'websocket', path: '/fuzz' },
    { transport: 'socketio', namespace: '/fuzz', joins: ({ sub }) => [`user:${sub}`] },
  ],
  events: {
    happened: { schema: Type.Object({ n: Type.Optional(Type.Number()) }) },
    roomed: { rooms: ({ data }) => [`room:${data.room}`], latest: ({ data }) => data.key, remember: ({ data }) => data.key, conversation: ({ conversation_id }) => conversation_id },
  },
  filters: { kind: { of: ({ kind }) => kind } },
  rooms: { 'room:{id}': { presence: true }, 'user:{id}': { allows: ({ sub }, id) => sub === id } },
  questions: { choose: { schema: Type.Object({ of: Type.Array(Type.Unknown()) }) } },
  commands: {
    enter: { schema: Type.Object({ room: Type.String() }), effect: { use: 'join', room: ({ room }) => room, acknowledgement: (room) => [{ room }] } },
    exit: { schema: Type.Object({ room: Type.String() }), effect: { use: 'leave', room: ({ room }) => room } },
    call: { effect: { use: 'forward', participates: ({ conversation_id }) => (typeof conversation_id === 'string' ? conversation_id : undefined) } },
    count: { effect: { use: 'forward', replies: Type.Object({ count: Type.Number() }), succeeded: ({ count }) => ({ type: 'counted', data: { count } }) } },
    tell: { schema: Type.Object({ room: Type.String() }), effect: { use: 'say', within: ({ room }) => room, room: ({ room }) => room, message: (data) => ({ type: 'told', data }) } },
    keep: { effect: { use: 'store', event: ({ data }) => ({ type: 'roomed', data: { ...data } }) } },
    same: { effect: { use: 'echo', reply: ({ data }) => ({ type: 'same', data }), acknowledgement: ({ data }) => [data] } },
  },
})
