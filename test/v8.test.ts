import { spawnSync } from 'node:child_process'
import t from 'tap'

t.test('this Node knows every flag that is set', (t) => {
  const module = new URL('../dist/v8.js', import.meta.url)
  const program = `const v8 = await import('${module}'); v8.setUpHeap(); v8.setUpCompiler(); v8.favourEvents(1e6)`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  })
  t.strictSame({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' })
  t.end()
})
