import { randomFillSync } from 'node:crypto'

const ID_BYTES = 16
/** Random bytes, got for many ids at once. */
const pool = Buffer.alloc(ID_BYTES * 256)
let taken = pool.length

/** 128 random bits as 32 hexadecimal digits: nobody can guess it. */
export function randomId(): string {
  if (taken === pool.length) {
    randomFillSync(pool)
    taken = 0
  }
  taken += ID_BYTES
  return pool.toString('hex', taken - ID_BYTES, taken)
}
