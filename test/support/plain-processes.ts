/**
 * Loaded into each test before it begins: brokers and tools that it starts run as they do for users. Tap would load
 * itself into all of them, to count what they cover: with a thread for each, for which a process that ends while it
 * loads waits for ever.
 */
const spawning = Reflect.get(globalThis, Symbol.for('process-on-spawn@*:singletonId')) as
  | { listeners: unknown[] }
  | undefined
if (spawning) spawning.listeners.length = 0
for (const name of Object.keys(process.env))
  if (name === 'NODE_OPTIONS' || name.startsWith('_TAPJS_PROCESSINFO_')) delete process.env[name]
