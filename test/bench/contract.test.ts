import t from 'tap'
import { loadContract } from '../../src/contracts/load.ts'

t.test("the bench's own contract is one that this broker takes", async (t) => {
  const { app } = await loadContract(new URL('../../bench/contract.ts', import.meta.url).pathname)
  t.equal(app, 'bench')
})
