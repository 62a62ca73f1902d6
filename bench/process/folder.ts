import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folders = new Set<string>()

/** A folder for a process of the bench. It is removed when the bench ends, if nobody removed it before. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-bench-'))
  folders.add(folder)
  return folder
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  folders.delete(folder)
}

export function removeTemporaryFolders(): void {
  for (const folder of folders) removeFolder(folder)
}
