import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { BrokerError, reasonOf } from '../errors.ts'
import { checkContract } from './check.ts'
import { CompiledContract } from './compiled.ts'
import type { Contract } from './contract.ts'

/** `import … from 'roomcast'` in a contract means this package, wherever the contract's file is. */
const PACKAGE_ENTRY = new URL(import.meta.url.endsWith('.ts') ? '../index.ts' : '../index.js', import.meta.url).href

/** Time for the compiler's process to end. */
const ENDING_MS = 100

/**
 * Ends the compiler, which is a process of its own. To be called by a thread before it ends: the process would stay as
 * a zombie.
 */
export async function endCompiler(): Promise<void> {
  const { stop } = await import('esbuild')
  await stop()
  await new Promise((resolve) => setTimeout(resolve, ENDING_MS))
}

/**
 * Loads a user's contract: a module (.js, .mjs or .ts) whose default export is `defineContract({…})`.
 * @throws BrokerError CONTRACT_INVALID with the file and its faults
 */
export async function loadContract(path: string): Promise<Contract> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-contract-'))
  try {
    // Imported here, so that a broker with only the built-in contracts starts without a compiler.
    const { build } = await import('esbuild')
    const { outputFiles } = await build({
      entryPoints: [resolve(path)],
      bundle: true,
      write: false,
      platform: 'node',
      format: 'esm',
      logLevel: 'silent',
      plugins: [
        {
          name: 'roomcast',
          setup: (pluginBuild) => {
            pluginBuild.onResolve({ filter: /^roomcast$/ }, () => ({ path: PACKAGE_ENTRY, external: true }))
          },
        },
      ],
    })
    const file = join(folder, 'contract.mjs')
    writeFileSync(file, outputFiles[0]?.contents ?? '')
    const module = (await import(pathToFileURL(file).href)) as { default?: Contract }
    if (module.default === undefined)
      throw new Error('it has no default export; write: export default defineContract({…})')
    checkContract(module.default)
    // Compile it now to find its faults while the file's name is known.
    new CompiledContract(module.default, {}, () => [])
    return module.default
  } catch (error) {
    throw new BrokerError('CONTRACT_INVALID', `${path}: ${reasonOf(error)}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
