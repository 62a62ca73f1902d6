// What a backend needs of Roomcast, and the demo of no more: NATS. Events are published, commands are requests that it
// answers.
import { connect, JSONCodec } from 'nats'

const codec = JSONCodec()

/** A backend of one application. */
export async function connectBackend(servers, app) {
  // deploy/nats.conf lets a service listen to this inbox alone.
  const nc = await connect({ servers, name: `demo of ${app}`, inboxPrefix: '_INBOX.service' })
  const js = nc.jetstream()
  const timers = new Set()
  let stopped = false

  /** Resolves once it is stored, so that what follows it comes after it. */
  const publish = async (type, data, rest = {}) => {
    if (!stopped) await js.publish(`events.${app}.${type}`, codec.encode({ data, source: 'demo', ...rest }))
  }

  /** `respond` returns the reply's data, or throws the refusal. `then` goes on after the reply. */
  const answer = (command, respond, then = async () => {}) =>
    nc.subscribe(`commands.${app}.${command}`, {
      queue: 'demo',
      callback: (error, message) => {
        if (error) return
        const request = codec.decode(message.data)
        try {
          const data = respond(request)
          message.respond(codec.encode({ ok: true, ...(data === undefined ? undefined : { data }) }))
        } catch ({ message: reason }) {
          message.respond(codec.encode({ ok: false, error: { code: 'DEMO_REFUSED', message: reason } }))
          return
        }
        then(request).catch(report)
      },
    })

  /** Now, and again so long after it has ended. */
  const every = (ms, run) => {
    let round = 0
    const turn = async () => {
      await run(round++).catch(report)
      if (stopped) return
      const timer = setTimeout(() => {
        timers.delete(timer)
        turn()
      }, ms)
      timers.add(timer)
    }
    turn()
  }

  const report = (error) => {
    if (!stopped) console.error(`demo of ${app}: ${error.message}`)
  }

  const stop = async () => {
    stopped = true
    for (const timer of timers) clearTimeout(timer)
    await nc.close()
  }

  return { publish, answer, every, stop, flush: () => nc.flush(), jetstream: js, isStopped: () => stopped }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
export const now = () => new Date().toISOString()
export const oneOf = (list, round) => list[round % list.length]

/** A text as it is spoken: each word, and what was said so far. */
export async function* spoken(text, ms = 120) {
  let accumulated = ''
  for (const word of text.split(/(?<= )/)) {
    await pause(ms)
    accumulated += word
    yield { text: word, accumulated }
  }
}
