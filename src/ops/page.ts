/**
 * The page on OPS_PORT: live figures, and the latest events of a chosen application, received through the real gateway.
 */
export const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Roomcast</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --soft: #888; --good: #2a9d5c; --bad: #d1495b; }
  body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; }
  header { display: flex; align-items: baseline; gap: 1rem; flex-wrap: wrap; }
  [hidden] { display: none !important; }
  h1 { font-size: 1.4rem; margin: 0; }
  .state::before { content: "● "; color: var(--bad); }
  .state.good::before { color: var(--good); }
  dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1rem 0; padding: 0; }
  dl div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .7rem; }
  dt { color: var(--soft); font-size: .8rem; }
  dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
  form { display: flex; gap: .6rem; flex-wrap: wrap; align-items: end; }
  label { display: grid; font-size: .8rem; color: var(--soft); }
  input, select, button { font: inherit; padding: .3rem .5rem; }
  #token { width: 18rem; }
  table { border-collapse: collapse; width: 100%; margin-top: 1rem; table-layout: fixed; }
  th, td { text-align: left; border-bottom: 1px solid var(--line); padding: .3rem .5rem; vertical-align: top; }
  th { color: var(--soft); font-weight: normal; font-size: .8rem; }
  td { font: 12.5px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
  col.time { width: 8rem; } col.type { width: 15rem; } col.id { width: 11rem; }
  tr.own td { color: var(--soft); }
  #empty { color: var(--soft); padding: 1rem .5rem; }
</style>
<header><h1>Roomcast</h1><span id="state" class="state">connecting…</span><span id="position" style="color:var(--soft)"></span></header>
<dl id="figures"></dl>
<form id="form">
  <label>Application<select id="app"></select></label>
  <label>Events or group<select id="events"></select></label>
  <label id="room-label">Room<input id="room" placeholder="none"></label>
  <label>Token<input id="token" type="password" autocomplete="off" placeholder="paste a token"></label>
  <button>Connect</button><span id="link" class="state">not connected</span>
</form>
<table><colgroup><col class="time"><col class="type"><col><col class="id"></colgroup>
<thead><tr><th>Time</th><th>Type</th><th>Data</th><th>Position</th></tr></thead><tbody id="rows"></tbody></table>
<p id="empty">Events appear here as they arrive.</p>
<script type="module">
const $ = (id) => document.getElementById(id)
let settings = await ask('settings')
const ROWS_MAX = 100
let socket, since, last

const count = new Intl.NumberFormat('en')
const bytes = (n) => (n / 1048576).toFixed(1) + ' MB'

/** With the token of the form, where there is one: what is shown depends on whose it is. */
async function ask(path) {
  const token = $('token').value
  const answer = await fetch(path, /^[!-~]+$/.test(token) ? { headers: { Authorization: 'Bearer ' + token } } : {})
  return answer.status === 401 ? (await fetch(path)).json() : answer.json()
}

async function refresh() {
  try {
    const now = await ask('figures')
    const at = performance.now()
    const rate = (name) => last ? Math.max(0, (now[name] - last.now[name]) / ((at - last.at) / 1000)) : 0
    const good = now.state === 'serving' && now.source_connected
    $('state').className = 'state' + (good ? ' good' : '')
    $('state').textContent = now.state + ', source: ' + now.source + (now.source_connected ? '' : ' (out of reach)')
    $('position').textContent = 'head ' + now.position
    const shown = {
      'Connections': count.format(now.connections),
      'Rooms': count.format(now.room_count),
      'Events': count.format(now.events),
      'Events per second': count.format(Math.round(rate('events') * 10) / 10),
      'Deliveries': count.format(now.deliveries),
      'Deliveries per second': count.format(Math.round(rate('deliveries'))),
      'Catching up': count.format(now.behind),
      'Lag, events': count.format(now.lag_events),
      'Left-out events': count.format(now.bad_events),
      'Ring': count.format(now.ring_events) + ' / ' + bytes(now.ring_bytes),
      ...(now.workers && { 'Workers': count.format(now.workers) }),
      'Process memory': bytes(now.rss_bytes),
    }
    $('figures').replaceChildren(...Object.entries(shown).map(([name, value]) => {
      const box = document.createElement('div')
      box.append(Object.assign(document.createElement('dt'), { textContent: name }), Object.assign(document.createElement('dd'), { textContent: value }))
      return box
    }))
    last = { now, at }
  } catch {
    $('state').className = 'state'
    $('state').textContent = 'the broker does not answer'
  }
}

function option(value) { return Object.assign(document.createElement('option'), { value, textContent: value }) }
function chosen() { return settings.apps.find(({ app }) => app === $('app').value) ?? {} }
function showNames() {
  const { names = [], rooms = [] } = chosen()
  $('events').replaceChildren(option('all'), ...names.map(option))
  $('room-label').hidden = rooms.length === 0
  $('room').placeholder = rooms.join(' ')
}

function link(text, good) {
  $('link').className = 'state' + (good ? ' good' : '')
  $('link').textContent = text
}

function connect() {
  socket?.close()
  const { path, port, names = [] } = chosen()
  const url = new URL(path, (settings.tls ? 'wss://' : 'ws://') + location.hostname + ':' + port)
  url.searchParams.set('token', $('token').value)
  const mine = socket = new WebSocket(url)
  mine.onopen = () => {
    link('connected', true)
    const events = $('events').value === 'all' ? names : [$('events').value]
    const rooms = $('room').value ? [$('room').value] : undefined
    mine.send(JSON.stringify({ type: 'subscribe', data: { events, rooms, filters: {}, since } }))
  }
  mine.onmessage = ({ data }) => show(JSON.parse(data))
  mine.onclose = ({ code, reason }) => {
    if (mine !== socket) return
    link('closed: ' + code + ' ' + reason, false)
    if (code < 4400 || code >= 4500) setTimeout(() => mine === socket && connect(), 1000)
  }
}

function show({ type, data, timestamp, id }) {
  if (id !== undefined && type !== 'subscribed') since = id
  $('empty').hidden = true
  const row = document.createElement('tr')
  if (id === undefined) row.className = 'own'
  for (const text of [new Date(timestamp).toLocaleTimeString(), type, JSON.stringify(data), id ?? '']) row.append(Object.assign(document.createElement('td'), { textContent: text }))
  $('rows').prepend(row)
  while ($('rows').children.length > ROWS_MAX) $('rows').lastChild.remove()
}

// Without an application that speaks raw WebSocket there are only figures.
$('form').hidden = settings.apps.length === 0
$('app').replaceChildren(...settings.apps.map(({ app }) => option(app)))
$('app').onchange = showNames
$('form').onsubmit = async (event) => {
  event.preventDefault()
  since = undefined
  const unnamed = !chosen().names
  settings = await ask('settings').catch(() => settings)
  if (unnamed) showNames()
  connect()
}
showNames()
$('token').value = settings.token ?? ''
if (settings.token && settings.apps.length > 0) connect()
refresh()
setInterval(refresh, 1000)
</script>
</html>
`
