import type { Command } from 'commander'
import { withDevelopmentKeys } from '../config/development.ts'
import { loadConfig } from '../config/load.ts'
import { BrokerError, reasonOf } from '../errors.ts'

export function addPublish(program: Command): void {
  program
    .command('publish')
    .description("publish one event through a running broker's HTTP API")
    .argument('<app>', 'for example game-djinn')
    .argument('<type>', "the event's type, for example sync_progress")
    .argument('<data>', 'its data, as a JSON object; `-` reads it from standard input')
    .option('--url <url>', 'the broker', 'http://127.0.0.1:8000')
    .option('--key <key>', "PUBLISH_KEY; default: from the environment, or this folder's development key")
    .option('--user <id>', 'for this user alone')
    .option('--rooms <list>', 'to these rooms instead of those that the contract derives, comma separated')
    .option('--message-id <id>', 'deduplicates: a second event of the same id is not stored')
    .action(async (app: string, type: string, text: string, flags: Record<string, string | undefined>) => {
      const { config } = withDevelopmentKeys(loadConfig(process.env))
      const body = {
        data: parse(text === '-' ? await readInput() : text),
        ...(flags.user ? { user_id: flags.user } : undefined),
        ...(flags.rooms ? { rooms: flags.rooms.split(',') } : undefined),
      }
      const url = new URL(`/api/v1/events/${encodeURIComponent(app)}/${encodeURIComponent(type)}`, flags.url)
      const answer = await fetch(url, {
        method: 'POST',
        headers: {
          Authorization: `Bearer ${flags.key ?? config.publishKey}`,
          'Content-Type': 'application/json',
          ...(flags.messageId ? { 'Nats-Msg-Id': flags.messageId } : undefined),
        },
        body: JSON.stringify(body),
      }).catch((error: Error) => {
        throw new BrokerError(
          'SERVICE_UNAVAILABLE',
          `No broker answers at ${flags.url} (${reasonOf(error.cause ?? error)}): start one with \`roomcast serve\`, or give its --url`,
        )
      })
      const said = await answer.text()
      if (!answer.ok) throw new BrokerError('INVALID_EVENT', `The broker refused it with ${answer.status}: ${said}`)
      console.log(said)
    })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new BrokerError('INVALID_EVENT', `<data> is not JSON: ${reasonOf(error)}`)
  }
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
