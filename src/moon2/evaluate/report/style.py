"""How the report looks: one style sheet, for a desk, a phone and paper."""

STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #566072; --line: #d9dee6; --right: #0b6b3a; --back: #f5f6f8;
  --paper: #fff; --grid: #e6e9ee; --found: #eef8f2; --wanted: #7a4a00; --sought: #fdf5e6; --typed: #1c2430; }
/* Only on a screen: paper stays white. */
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e6e9ef; --soft: #a4aebd; --line: #39424f; --right: #55cf92; --back: #12161c;
    --paper: #1b212a; --grid: #2e3641; --found: #17301f; --wanted: #f0b95a; --sought: #32270f; --typed: #0b0e12;
    --colour-0: #6cb2f0; --colour-1: #ff9a5c; --colour-2: #45cfa4; --colour-3: #e58fca; --colour-4: #d8b84a;
    --colour-5: #a8a8ff; --colour-6: #ff8a8a; --colour-7: #d0d4da; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.3rem; margin: 0 0 4px; }
h3 { font-size: .95rem; margin: 14px 0 6px; }
h3:first-child { margin-top: 0; }
small { font-size: .8rem; font-weight: 400; color: var(--soft); }
header p { margin: 4px 0 0; color: var(--soft); overflow-wrap: anywhere; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px;
  margin-top: 18px; }
section > p { margin: 0 0 12px; color: var(--soft); font-size: .92rem; max-width: 46rem; }
pre { background: var(--typed); color: #f2f4f7; padding: 10px 14px; border-radius: 8px; font-size: .85rem;
  margin: 14px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.facts { list-style: none; display: flex; flex-wrap: wrap; gap: 6px 26px; padding: 0; margin: 12px 0 0; }
.facts b { font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 8px; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--soft); font-size: .85rem; border-bottom: 2px solid var(--line); }
tr.group th { text-align: left; padding-top: 14px; }
th.view { font-weight: 400; }
th small, td small { display: block; line-height: 1.3; }
tr.group small { display: inline; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 22px 28px; }
.chart { margin: 0; min-width: 0; break-inside: avoid; }
.bars { max-width: 560px; margin-top: 18px; }
.chart > svg { width: 100%; height: auto; display: block; }
.chart text { font-size: 12px; fill: var(--soft); paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.chart .value { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.chart .grid { stroke: var(--grid); }
.chart .halo { stroke: var(--paper); }
.chart .whisker, .chart path.mark { stroke: var(--ink); }
.chart figcaption { font-weight: 600; font-size: .95rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 16px; padding: 0; margin: 2px 0 6px;
  font-size: .82rem; }
.swatch { width: 26px; height: 10px; margin-right: 5px; }
article { display: grid; grid-template-columns: 170px 1fr; gap: 20px; padding: 18px 0;
  border-top: 1px solid var(--line); break-inside: avoid; }
article > * { min-width: 0; }
.query img { max-width: 100%; max-height: 180px; width: auto; height: auto; min-width: 84px; border-radius: 6px; }
.query p { margin: 8px 0 0; font-weight: 600; overflow-wrap: anywhere; }
.query i { font-weight: 400; color: var(--soft); }
.strips ol { list-style: none; display: grid; grid-template-columns: repeat(5, minmax(96px, 1fr)); gap: 10px;
  padding: 0 0 4px; margin: 0; overflow-x: auto; }
.strips ol.six { grid-template-columns: repeat(6, minmax(96px, 1fr)); }
.strips li { border: 1px solid var(--line); border-radius: 8px; padding: 6px; font-size: .76rem; line-height: 1.3;
  display: flex; flex-direction: column; background: var(--paper); min-width: 0; }
.strips li.right { border: 2px solid var(--right); padding: 5px; background: var(--found); }
.strips li.wanted { border: 2px dashed var(--wanted); padding: 5px; background: var(--sought); }
.strips img { display: block; width: 100%; height: 104px; object-fit: contain; background: #fff; border-radius: 4px; }
.strips p { margin: 5px 0 3px; overflow-wrap: anywhere; flex: 1; display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 3; overflow: hidden; }
.none { display: grid; place-items: center; height: 104px; background: var(--back); color: var(--soft);
  text-align: center; }
.mark { color: var(--soft); }
.right b.mark { color: var(--right); }
.wanted b.mark { color: var(--wanted); }
.query small { display: block; }
@media (max-width: 640px) {
  main { padding: 16px 10px 32px; }
  h1 { font-size: 1.5rem; }
  .chart text { font-size: 14px; }
  section { padding: 14px 12px; }
  th, td { padding: 6px 5px; }
  thead th { font-size: .78rem; }
  article { grid-template-columns: 1fr; gap: 10px; }
  .query { display: flex; gap: 12px; align-items: center; }
  .query p { margin: 0; }
  .query img { min-width: 0; max-height: 96px; }
  .strips ol, .strips ol.six { grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); overflow: visible; }
}
@page { margin: 14mm 12mm; }
@media print {
  body { background: #fff; font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  section { border: 0; padding: 0; margin-top: 16pt; }
  h2, h3, section > p, figcaption, thead { break-after: avoid; }
  tr, .chart, .strips li, h3 + ol, .query, section > p { break-inside: avoid; }
  th, td { padding: 4px 6px; }
  .bars { max-width: 370px; margin-top: 10px; }
  pre { background: #fff; color: #000; border: 1px solid #999; }
  .wide { overflow: visible; }
  .charts { grid-template-columns: 1fr 1fr; gap: 14pt; }
  article { grid-template-columns: 110px 1fr; gap: 12px; padding: 6pt 0; }
  .query img { max-height: 76px; min-width: 0; }
  .query p { margin: 3px 0 0; font-size: 9pt; line-height: 1.25; }
  .strips ol { overflow: visible; grid-template-columns: repeat(5, 1fr); gap: 6px; }
  .strips ol.six { grid-template-columns: repeat(6, 1fr); }
  h3 { margin: 4px 0 2px; font-size: 9pt; line-height: 1.2; }
  .strips li { font-size: 7pt; line-height: 1.2; padding: 3px; }
  .strips li.right, .strips li.wanted { padding: 2px; }
  .strips p { margin: 2px 0 1px; flex: none; min-height: 2.4em; -webkit-line-clamp: 2; }
  .strips img, .none { height: 52px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
