import t from 'tap'
import { after, every, guarded, onFault, runGuarded, soon } from '../src/guarded.ts'

/** Faults that were reported while `act` ran, and until `count` came. */
async function faultsOf(count: number, act: () => void): Promise<[string, string][]> {
  const faults: [string, string][] = []
  await new Promise<void>((resolve) => {
    const stop = onFault((where, error) => {
      faults.push([where, (error as Error).message])
      if (faults.length < count) return
      stop()
      resolve()
    })
    act()
  })
  return faults
}

const fail = () => {
  throw new Error('broken')
}

t.test('a throw and a rejection are reported with their place, and go no further', async (t) => {
  t.same(
    await faultsOf(2, () => {
      runGuarded('here', fail)
      guarded('there', async (what: string) => {
        throw new Error(what)
      })('rejected')
    }),
    [
      ['here', 'broken'],
      ['there', 'rejected'],
    ],
  )
})

t.test('timers and immediates that throw end nothing', async (t) => {
  let ticker: NodeJS.Timeout | undefined
  const faults = await faultsOf(4, () => {
    soon('soon', fail)
    after('after', 1, fail)
    ticker = every('every', 1, fail)
  })
  clearInterval(ticker)
  t.ok(faults.some(([where]) => where === 'soon'))
  t.ok(faults.some(([where]) => where === 'after'))
  t.ok(faults.filter(([where]) => where === 'every').length >= 1)
})
