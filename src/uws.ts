import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { BrokerError } from './errors.ts'

/**
 * uWS answers 431 to request headers above this limit. Its default of 4 KB is too small for long tokens in a header or
 * the query. It reads the variable once, while its native module loads.
 */
process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= '16384'

/**
 * The builds that are dependencies, newest first: a package for each Node, of which npm installs those that fit Node,
 * system and processor. Whether glibc fits shows only when one loads.
 */
const BUILDS = [
  { version: '20.69', nodes: [22, 24, 26], glibc: '2.38' },
  { version: '20.51', nodes: [20, 22, 23], glibc: '2.27' },
]

/** What decides which build fits. */
export interface Machine {
  /** As `process.versions.node`. */
  readonly node: string
  readonly platform: string
  readonly arch: string
  /** Undefined where there is none. */
  readonly glibc: string | undefined
}

const { uws, name } = await load()

/** The build that runs: a package's name, or the path in UWS_MODULE. */
export const uwsBuild = name
export const { App, SSLApp, us_listen_socket_close, us_socket_local_port } = uws

/**
 * The newest build that loads here, else the package that is called uWebSockets.js. UWS_MODULE names another one: a
 * `.node` file, or the folder of a package.
 * @throws BrokerError CONFIG_INVALID if there is none
 */
async function load(): Promise<{ uws: typeof import('uWebSockets.js'); name: string }> {
  const require = createRequire(import.meta.url)
  const own = process.env.UWS_MODULE
  if (own) {
    try {
      return { uws: require(resolve(own)), name: own }
    } catch (error) {
      throw new BrokerError('CONFIG_INVALID', `UWS_MODULE=${own}: it does not load (${reasonIn(error)})`)
    }
  }
  const major = majorOf(process.versions.node)
  for (const { version, nodes } of BUILDS) {
    if (!nodes.includes(major)) continue
    const name = `uws-${version}-node-${major}`
    try {
      return { uws: require(name), name }
    } catch {
      // The next one may fit.
    }
  }
  const name = 'uWebSockets.js'
  try {
    return { uws: await import(name), name }
  } catch {
    // What to do about it is said below.
  }
  throw new BrokerError('CONFIG_INVALID', whyNone(thisMachine()))
}

/** Why no build loads on a machine, and what to do about it, in one line. */
export function whyNone({ node, platform, arch, glibc }: Machine): string {
  const major = majorOf(node)
  const fitting = BUILDS.filter(({ nodes }) => nodes.includes(major))
  const known = [...new Set(BUILDS.flatMap(({ nodes }) => nodes))].sort((a, b) => a - b).join(', ')
  const own = 'or bring a build of your own by UWS_MODULE (docs/install.md)'
  const none = `no build of uWebSockets.js runs on Node ${node}, ${platform}-${arch}`
  if (platform !== 'linux' || arch !== 'x64')
    return `${none}: npm install uWebSockets.js@npm:uws-pack@20.0.8 (Node 20, 22), ${own}`
  if (fitting.length === 0) return `${none}: take one of Node ${known}, ${own}`
  if (glibc === undefined)
    return `${none} without glibc: take a system with glibc (Debian, Ubuntu, Red Hat; not Alpine), ${own}`
  if (!fitting.some((build) => isAtLeast(glibc, build.glibc)))
    return (
      `${none} with glibc ${glibc}: Node ${major} needs glibc ${fitting.at(-1)?.glibc} (Debian 13, Ubuntu 24.04); ` +
      `take such a system, or Node 22, ${own}`
    )
  return `${none}: its package is missing; run npm install again with this Node and with optional packages, ${own}`
}

function thisMachine(): Machine {
  const report = process.report as typeof process.report & { excludeNetwork: boolean }
  report.excludeNetwork = true
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  return {
    node: process.versions.node,
    platform: process.platform,
    arch: process.arch,
    glibc: header.glibcVersionRuntime,
  }
}

function majorOf(node: string): number {
  return Number.parseInt(node, 10)
}

function isAtLeast(version: string, wanted: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number)
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
}

/** The packages put the linker's reason last, below a text of their own; Node puts who asked there. */
function reasonIn(error: unknown): string {
  const [message = ''] = String((error as Error).message).split('\nRequire stack')
  return message.trim().split('\n').at(-1) as string
}
