/** Every server event of a session, with data of the shapes in specs/gemini-sessions.md. */
export const EXAMPLES: Readonly<Record<string, Record<string, unknown>>> = {
  'chat:message': { content: 'from another channel', userId: 'someone' },
  'chat:cleared': { timestamp: '2025-01-01T00:00:00.000Z' },
  'chat:typing': { userId: 'someone', typing: true },
  'gemini:content': { text: 'Hello', accumulated: 'Well: Hello' },
  'gemini:thought': { thought: 'The user says hello', summary: 'A greeting' },
  'gemini:tool-request': { callId: 'call_123_456', tool: 'readFile', args: { path: '/workspace/file.txt' } },
  'gemini:tool-result': { callId: 'call_123_456', result: { text: 'é𝄞\u2028' } },
  'gemini:done': { fullResponse: 'Well: Hello', timestamp: '2025-01-01T00:00:01.000Z' },
  'gemini:cancelled': { message: 'Cancelled by the user' },
  'gemini:error': { error: 'The model is overloaded' },
  'tool:execution-start': { name: 'readFile', args: { path: '/workspace/file.txt' }, callId: 'call_123_456' },
  'tool:execution-complete': { name: 'readFile', result: { lines: 3 }, resultDisplay: '3 lines', executionTime: 12, callId: 'call_123_456' },
  'tool:execution-error': { name: 'readFile', error: 'ENOENT', executionTime: 3, callId: 'call_123_456' },
  'tool:approved': { callId: 'call_123_456', approvedBy: 'someone', timestamp: '2025-01-01T00:00:02.000Z' },
  'tool:rejected': { callId: 'call_123_456', rejectedBy: 'someone', reason: 'Security concern' },
  'tool:list-response': { tools: [{ name: 'readFile', description: 'Reads a file', parameters: {} }] },
}
