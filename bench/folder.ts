import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folders: string[] = []

/** A folder for a process of the bench. It goes when the bench ends, after the process. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-bench-'))
  folders.push(folder)
  return folder
}

export function removeTemporaryFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
}
