import { fileURLToPath } from 'node:url'

/** The package's folder, as seen from what is built of this file: `dist/bench/process/`. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
/** The broker, as users start it. */
export const BROKER = fileURLToPath(new URL('../../main.js', import.meta.url))

/** Path of a built file of the bench. @param name its path below `bench/`, without `.ts` */
export function built(name: string): string {
  return fileURLToPath(new URL(`../${name}.js`, import.meta.url))
}
