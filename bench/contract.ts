/**
 * A contract for Roomcast (docs/contracts.md): one application with rooms for clients of both protocols. `common`
 * events go to everybody, `own` ones to the room of their series. `note` is answered, and what is said is heard by the
 * room.
 */
export default {
  app: 'bench',
  about: 'The bench: numbered events to one room for all, and to many rooms',
  endpoints: [
    { transport: 'websocket', path: '/bench' },
    { transport: 'socketio', namespace: '/bench', joins: () => ['all'] },
  ],
  events: {
    common: { rooms: () => ['all'] },
    own: { rooms: ({ data }: { data: { k: number } }) => [`room:${data.k}`] },
  },
  rooms: { all: {}, 'room:{id}': {} },
  commands: {
    join: {
      action: {
        use: 'join',
        room: (data: { room: string }) => data.room,
        acknowledgement: (room: string) => [{ room }],
      },
    },
    leave: {
      action: {
        use: 'leave',
        room: (data: { room: string }) => data.room,
        acknowledgement: (room: string) => [{ room }],
      },
    },
    note: { action: { use: 'echo', reply: () => ({ type: 'noted', data: {} }), acknowledgement: () => ['noted'] } },
    say: {
      action: {
        use: 'broadcast',
        room: (data: { room: string }) => data.room,
        message: () => ({ type: 'said', data: {} }),
      },
    },
  },
}
