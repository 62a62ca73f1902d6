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
    roomed: { rooms: ({ data }) => [`room:${data.room}`], latest: ({ data }) => data.key, lastValue: ({ data }) => data.key, conversation: ({ conversation_id }) => conversation_id },
  },
  filters: { kind: { read: ({ kind }) => kind } },
  rooms: { 'room:{id}': { presence: true }, 'user:{id}': { allows: ({ sub }, id) => sub === id } },
  clientRequests: { choose: { schema: Type.Object({ of: Type.Array(Type.Unknown()) }) } },
  commands: {
    enter: { schema: Type.Object({ room: Type.String() }), action: { use: 'join', room: ({ room }) => room, acknowledgement: (room) => [{ room }] } },
    exit: { schema: Type.Object({ room: Type.String() }), action: { use: 'leave', room: ({ room }) => room } },
    call: { action: { use: 'forward', participates: ({ conversation_id }) => (typeof conversation_id === 'string' ? conversation_id : undefined) } },
    count: { action: { use: 'forward', replies: Type.Object({ count: Type.Number() }), succeeded: ({ count }) => ({ type: 'counted', data: { count } }) } },
    tell: { schema: Type.Object({ room: Type.String() }), action: { use: 'broadcast', within: ({ room }) => room, room: ({ room }) => room, message: (data) => ({ type: 'told', data }) } },
    keep: { action: { use: 'store', event: ({ data }) => ({ type: 'roomed', data: { ...data } }) } },
    same: { action: { use: 'echo', reply: ({ data }) => ({ type: 'same', data }), acknowledgement: ({ data }) => [data] } },
  },
})
