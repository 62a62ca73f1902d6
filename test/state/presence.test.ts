import t from 'tap'
import { Presence } from '../../src/state/presence.ts'
import type { Changed, KeyValue, Source } from '../../src/source/source.ts'

const encoded = (text: string) => Buffer.from(text).toString('base64url')

t.test('a process that stood still for a minute told everybody that users of other nodes had left', async (t) => {
  let changed: Changed = () => {}
  const kv = {
    watch: async (listener: Changed) => void (changed = listener),
    put: async () => 1,
    delete: async () => true,
  } as unknown as KeyValue
  const told: string[] = []
  const source = { connected: true, keyValue: async () => kv } as unknown as Source
  const presence = await Presence.open(source, 'here', (change) => told.push(change))
  t.teardown(() => presence.close())
  const lease = `app.${encoded('hall')}.${encoded('bob')}.elsewhere`
  changed(lease, Buffer.from('Bob'))
  const now = Date.now
  t.teardown(() => (Date.now = now))
  Date.now = () => now() + 60_000
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  changed(lease, Buffer.from('Bob'))
  t.same([told, presence.count('app', 'hall')], [['joined'], 1])
})
