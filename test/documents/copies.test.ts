import { existsSync, readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { copiedExamples, examplesIn } from '../support/examples.ts'

/** Where the documents lie beside a checkout. A clone elsewhere has the copies alone. */
const DOCUMENTS = new URL('../../../shared/specs/', import.meta.url)

for (const document of readdirSync(import.meta.dirname).filter((name) => name.endsWith('.md'))) {
  t.test(`the copied examples of ${document} are as written there`, async (t) => {
    const copied = copiedExamples(document)
    t.ok(copied.length > 0)
    const original = new URL(document, DOCUMENTS)
    if (existsSync(original)) t.same(copied, examplesIn(readFileSync(original, 'utf8')))
  })
}
