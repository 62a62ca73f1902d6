import { defineContract } from 'roomcast'

/** Two namespaces open to everyone, which echo: what the protocol tests talk to. */
const namespace = (name) => ({
  transport: 'socketio',
  namespace: name,
  anonymous: true,
  welcome: ({ auth }) => ({ type: 'auth', data: auth }),
})

export default defineContract({
  app: 'protocol',
  endpoints: [namespace('/'), namespace('/custom')],
  events: { nothing: {} },
  commands: {
    message: { action: { use: 'echo', reply: ({ args }) => ({ type: 'message-back', args }) } },
    'message-with-ack': { action: { use: 'echo', acknowledgement: ({ args }) => args } },
  },
})
