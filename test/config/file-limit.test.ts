import t from 'tap'
import { withinFileLimit } from '../../src/config/file-limit.ts'
import { loadConfig } from '../../src/config/load.ts'

const config = (connections: number) => loadConfig({ MAX_CONNECTIONS: String(connections) })

t.test('MAX_CONNECTIONS that fits stays as it is, and nothing is said', async (t) => {
  const wanted = config(10_000)
  t.same(withinFileLimit(wanted, 20_000), { config: wanted, warning: undefined })
  t.same(withinFileLimit(wanted, Number.POSITIVE_INFINITY), { config: wanted, warning: undefined })
})

t.test('MAX_CONNECTIONS that does not fit becomes what does, and it is said why and what to do', async (t) => {
  const { config: fitted, warning = '' } = withinFileLimit(config(50_000), 20_000)
  t.equal(fitted.maxConnections, 19_800)
  for (const part of ['MAX_CONNECTIONS=50000', '20000 files', '19800 connections', 'ulimit -n', 'LimitNOFILE'])
    t.match(warning, part)
})

t.test('the limit of this very process is read', async (t) => {
  const { config: fitted } = withinFileLimit(config(1_000_000))
  t.ok(fitted.maxConnections >= 1 && fitted.maxConnections <= 1_000_000)
})
