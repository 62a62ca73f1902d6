/** How the page looks, in light and in dark. */
export const STYLE = `
:root{--bg:#fff;--fg:#1c2024;--soft:#60646c;--rule:#e2e5ea;--panel:#f8f9fb;--c0:#8b8d98;--c1:#0b68cb;--c2:#c2570c;--c3:#b4245d;--c4:#15803d;--c5:#7c3aed;--good:#15803d;--bad:#c0262d}
@media(prefers-color-scheme:dark){:root{--bg:#111317;--fg:#e8eaed;--soft:#9ba1ab;--rule:#2c3038;--panel:#181b20;--c0:#a5a8b3;--c1:#58a6ff;--c2:#fb923c;--c3:#f472b6;--c4:#4ade80;--c5:#b392f0;--good:#4ade80;--bad:#ff7b72}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px}h1{font-size:24px;margin:0 0 12px}h2{font-size:20px;margin:0 0 6px}
section{border-top:1px solid var(--rule);padding:24px 0}nav{display:flex;flex-wrap:wrap;gap:6px 18px;margin-bottom:18px}a{color:var(--c1)}small{color:var(--soft)}
.about{color:var(--soft);font-size:13px;margin:0 0 12px}.about b{color:var(--fg);font-weight:600}
.thresholds,.failures{list-style:none;padding:0;margin:0 0 12px;font-size:14px}.met{color:var(--good)}.missed{color:var(--bad)}.failures li{color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr));gap:16px;align-items:start}.charts+.charts{margin-top:16px}
figure{margin:0;padding:12px;background:var(--panel);border:1px solid var(--rule);border-radius:6px}figcaption{font-weight:600;margin-bottom:6px}
svg{display:block;width:100%;height:auto}svg text{fill:var(--fg);font:12px system-ui,sans-serif}svg .tick,svg .label{fill:var(--soft)}svg .marked{fill:var(--soft);font-size:11px}
.grid{stroke:var(--rule)}.line{fill:none;stroke-width:2;stroke-linejoin:round}.mark{stroke:var(--soft);stroke-dasharray:3 3}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:6px 0 0;font-size:13px}.legend i{display:inline-block;width:14px;height:3px;margin-right:6px;vertical-align:middle}
.scroll{overflow-x:auto;margin-top:16px}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600;padding:6px 0}
th,td{padding:3px 12px;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}tbody th{text-align:left;font-weight:500}tbody th.part{padding-left:28px;color:var(--soft)}
details{margin-top:12px;font-size:13px}dt{font-weight:600}dd{margin:0 0 6px;color:var(--soft)}
`
