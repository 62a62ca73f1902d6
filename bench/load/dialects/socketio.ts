import { eventPrefix } from '../../events/workload.ts'
import type { Target } from './target.ts'
import { type Dialect, type DialectConnection, subscriptionOf } from './dialect.ts'

/**
 * Engine.IO 4: `0` open, `2` ping, `3` pong, `4` message; Socket.IO 5 in it: `0` CONNECT, `2` EVENT, `3` ACK, `4`
 * CONNECT_ERROR.
 */
export function socketIo(target: Target): Dialect {
  const { namespace = '/', welcomes, subscribe } = target
  const event = eventPrefix(namespace).slice(0, -1)
  const entered = (connection: DialectConnection) => {
    if (subscribe === undefined) connection.ready()
    else connection.sendText(`42${namespace},0["join",{"room":"${subscriptionOf(target, connection)}"}]`)
  }
  return {
    tailBytes: '"]'.length,
    pathOf: () => target.path,
    opened() {},
    visit(connection, room, on) {
      connection.sendText(`42${namespace},1["${on ? 'join' : 'leave'}",{"room":"${room}"}]`)
    },
    talk(connection, room) {
      connection.sendText(`42${namespace},2["note",{}]`)
      connection.sendText(`42${namespace},["say",{"room":"${room}"}]`)
    },
    frame(connection, bytes, start, end) {
      if (connection.event(bytes, start, end)) return
      const message = bytes.toString('utf8', start, end)
      if (message === '2') connection.sendText('3')
      else if (message.startsWith('0{')) {
        const { token, pid, position } = connection
        const recovery = pid === '' ? '' : `,"pid":"${pid}"${position === undefined ? '' : `,"offset":"${position}"`}`
        connection.sendText(`40${namespace},{"token":"${token}"${recovery}}`)
      } else if (message.startsWith(`40${namespace},{`)) {
        connection.pid = /"pid":"([^"]+)"/.exec(message)?.[1] ?? ''
        if (!welcomes) entered(connection)
      } else if (message.startsWith(`${event}["connection_established"`)) entered(connection)
      else if (message.startsWith(`43${namespace},0[`)) connection.ready()
      else if (message.startsWith('44') || message.startsWith('41')) connection.refuse(message.slice(0, 300))
    },
  }
}
