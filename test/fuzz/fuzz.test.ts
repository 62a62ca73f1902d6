import t from 'tap'
import { checkSurface, faultsIn, outcomeOf, reach, restart } from './run.ts'
import { BROKER_SURFACES, PURE_SURFACES } from './surfaces.ts'
import { Watch } from './watch.ts'
import { World } from './world.ts'

const SEED = 1
const SECONDS = 3
/** A fast machine sends no other inputs than a slow one, only more of the same list. */
const CASES_MAX = 400
/** On a busy machine the last event may take its time. */
const PATIENCE_MS = 60_000

for (const surface of PURE_SURFACES) {
  t.test(`${surface.name}: ${surface.about}`, async (t) => {
    t.same(faultsIn(checkSurface(surface, SEED, SECONDS)), [])
  })
}

t.test('a broker stands what nobody should send, and clients that behave well notice nothing', async (t) => {
  const world = await World.start()
  t.teardown(() => world.stop())
  await world.openCanaries()
  const watch = new Watch(world)
  for (const surface of BROKER_SURFACES) {
    await t.test(`${surface.name}: ${surface.about}`, async (t) => {
      const outcome = outcomeOf(surface.name, SEED)
      await reach(surface, world, outcome, Date.now() + SECONDS * 1_000, watch, {
        seed: SEED,
        seconds: SECONDS,
        casesMax: CASES_MAX,
      })
      t.notOk(world.broker.gone, `the broker lives: ${world.broker.log.slice(-3_000)}`)
      t.same(faultsIn(outcome), [])
    })
  }
  await watch.stop()
  const outcome = { ...outcomeOf('all', SEED), canaries: await world.reportCanaries(PATIENCE_MS) }
  t.same(faultsIn(outcome), [], 'every canary event arrived, in order, on one connection')
  t.equal((await world.broker.ops('/readyz')).status, 200)
  await restart(world, outcome)
  t.notOk(world.broker.gone, 'another start stands what is stored now')
})
