/** A contract for Roomcast (docs/contracts.md): numbered events to a room for all, and to rooms that few are in. */
export default {
  app: 'chaos',
  about: 'Chaos: numbered events to rooms of clients that record what they get',
  endpoints: [
    { transport: 'websocket', path: '/chaos' },
    { transport: 'socketio', namespace: '/chaos', joins: () => ['all'] },
  ],
  events: { numbered: { rooms: ({ data }: { data: { room: string } }) => [data.room] } },
  rooms: { all: {}, bulk: {}, 'room:{id}': {} },
  commands: {
    join: {
      action: {
        use: 'join',
        room: (data: { room: string }) => data.room,
        acknowledgement: (room: string) => [{ room }],
      },
    },
  },
}
