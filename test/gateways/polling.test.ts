import t from 'tap'
import type { HttpResponse } from 'uWebSockets.js'
import { type Answer, Polling } from '../../src/gateways/engineio/polling.ts'

/** One poll after another; what each was answered. */
function polled(polling: Polling, polls: number): string[] {
  const answers: string[] = []
  const answer: Answer = (_res, _status, _type, body) => void answers.push(body)
  for (let n = 0; n < polls; n++) polling.wait({} as HttpResponse, answer)
  return answers
}

t.test(
  'events in one answer with the close came twice: socket.io-client gives them to the program after it has come back',
  async (t) => {
    const polling = new Polling(() => {})
    polling.push({ type: 'message', data: '2["moved",1]' })
    polling.push({ type: 'message', data: '2["moved",2]' })
    polling.finish()
    t.notOk(polling.finished)
    t.same(polled(polling, 1), ['42["moved",1]\x1e42["moved",2]'])
    t.notOk(polling.finished)
    t.same(polled(polling, 1), ['1'])
    t.ok(polling.finished)
  },
)

t.test('a poll that waits is told at once', async (t) => {
  const polling = new Polling(() => {})
  const answers = polled(polling, 1)
  polling.finish()
  t.same(answers, ['1'])
  t.ok(polling.finished)
})
