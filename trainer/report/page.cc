#include "trainer/report/page.h"

#include "absl/strings/str_cat.h"
#include "trainer/report/chart.h"

namespace wyvern {

const char kReportStyle[] = R"css(
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --border: #e1e4ea; --text: #1b2129; --muted: #5d6775;
  --grid: #eceef2; --axis: #b4bbc6; --line-1: #2563c9; --line-2: #d4570a;
  --line-3: #1a8a4f; --line-4: #a3339c; --line-5: #8a6d00; --line-6: #0e8a99;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151a; --card: #1a1e25; --border: #2b313b; --text: #e6e9ee; --muted: #98a2b1;
    --grid: #262c35; --axis: #505a68; --line-1: #6ba4ff; --line-2: #ff9d57;
    --line-3: #5fd08f; --line-4: #e08adb; --line-5: #d9bd4a; --line-6: #5fd0dd;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0; }
.lead { margin: 0 0 20px; color: var(--muted); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile, figure, .card {
  background: var(--card); border: 1px solid var(--border); border-radius: 10px;
}
.tile { padding: 12px 14px; }
.tile .name { color: var(--muted); font-size: 13px; }
.tile .value { font-size: 22px; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile .detail { color: var(--muted); font-size: 12.5px; }
figure { margin: 0; padding: 14px 16px 8px; min-width: 0; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px; margin: 12px 0; }
.charts .wide { grid-column: 1 / -1; }
figcaption { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; margin-bottom: 8px; }
.note { color: var(--muted); font-size: 13px; margin-left: -6px; }
.key { font-size: 13px; color: var(--muted); white-space: nowrap; }
.key b { color: var(--text); font-weight: 600; font-variant-numeric: tabular-nums; }
.key i { display: inline-block; width: 16px; height: 0; margin-right: 6px; vertical-align: middle; border-top: 2.5px solid; }
.key i.c1 { color: var(--line-1); }
.key i.c2 { color: var(--line-2); }
.key i.c3 { color: var(--line-3); }
.key i.c4 { color: var(--line-4); }
.key i.c5 { color: var(--line-5); }
.key i.c6 { color: var(--line-6); }
.key i.dots { width: 0; border-top: 0; border: 3.5px solid; border-radius: 50%; }
.key i.faint { opacity: .4; }
.plot { position: relative; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg svg { overflow: hidden; }
.grid { stroke: var(--grid); }
.axis { stroke: var(--axis); }
.tick, .label { fill: var(--muted); font-size: 12px; font-variant-numeric: tabular-nums; }
polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
polyline.marked { stroke-width: 1.2; }
polyline.faint { stroke-width: 1; opacity: .4; }
polyline.c1 { stroke: var(--line-1); }
polyline.c2 { stroke: var(--line-2); }
polyline.c3 { stroke: var(--line-3); }
polyline.c4 { stroke: var(--line-4); }
polyline.c5 { stroke: var(--line-5); }
polyline.c6 { stroke: var(--line-6); }
polyline.band { stroke: none; opacity: .15; }
polyline.band.c1 { fill: var(--line-1); }
polyline.band.c2 { fill: var(--line-2); }
polyline.band.c3 { fill: var(--line-3); }
polyline.band.c4 { fill: var(--line-4); }
polyline.band.c5 { fill: var(--line-5); }
polyline.band.c6 { fill: var(--line-6); }
circle.c1 { fill: var(--line-1); }
circle.c2 { fill: var(--line-2); }
circle.c3 { fill: var(--line-3); }
circle.c4 { fill: var(--line-4); }
circle.c5 { fill: var(--line-5); }
circle.c6 { fill: var(--line-6); }
.cursor line { stroke: var(--axis); stroke-dasharray: 3 3; }
.tip {
  position: absolute; top: 6px; pointer-events: none; padding: 6px 9px; font-size: 12.5px;
  background: var(--card); border: 1px solid var(--border); border-radius: 6px;
  box-shadow: 0 2px 8px rgb(0 0 0 / .14); white-space: nowrap; font-variant-numeric: tabular-nums;
}
.card { padding: 14px 16px; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; margin-top: 6px; }
td { padding: 5px 0; border-top: 1px solid var(--grid); vertical-align: top; overflow-wrap: anywhere; }
tr:first-child td { border-top: 0; }
td:first-child { color: var(--muted); width: 32%; padding-right: 16px; }
td:first-child::first-letter { text-transform: uppercase; }
pre { margin: 8px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 720px) {
  .charts { grid-template-columns: minmax(0, 1fr); }
  .wide .plot { overflow-x: auto; }
  .wide svg { min-width: 560px; }
}
)css";

const char kReportScript[] = R"js(
for (const figure of document.querySelectorAll('figure[data-chart]')) {
  const chart = JSON.parse(figure.dataset.chart);
  const plot = figure.querySelector('.plot'), svg = plot.querySelector('svg');
  const cursor = svg.querySelector('.cursor'), tip = plot.querySelector('.tip');
  const [left, top, width, height] = chart.plot;
  const place = (value, [low, high], log) => log
      ? (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low))
      : (value / 2 - low / 2) / (high / 2 - low / 2);
  const show = (value) => value === null ? '\u221e' : chart.format === 2
      ? Math.round(value).toLocaleString('en-US') : value.toPrecision(chart.format === 1 ? 3 : 5);
  const name = (x) => chart.log_x ? x.toPrecision(4) : x.toLocaleString('en-US');
  const nearest = (points, x) => {
    let low = 0, high = points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - points[low - 1][0] < points[low][0] - x ? points[low - 1] : points[low];
  };
  const element = (name, attributes) => {
    const node = document.createElementNS(svg.namespaceURI, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    return node;
  };
  const leave = () => { tip.hidden = true; cursor.replaceChildren(); };
  svg.addEventListener('pointerleave', leave);
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const share = ((event.clientX - box.left) * scale - left) / width;
    if (share < -0.02 || share > 1.02) return leave();
    const [low_x, high_x] = chart.x;
    const pointed = chart.log_x ? Math.pow(low_x, 1 - share) * Math.pow(high_x, share)
                                : low_x + share * (high_x - low_x);
    const step = nearest(chart.series[0].points, pointed)[0];
    const at = left + width * place(step, chart.x, chart.log_x);
    cursor.replaceChildren(element('line', {x1: at, x2: at, y1: top, y2: top + height}));
    tip.replaceChildren(Object.assign(document.createElement('div'),
                                      {textContent: chart.x_name + ' ' + name(step)}));
    for (const series of chart.series) {
      const [x, y] = nearest(series.points, step);
      const note = x === step ? '' : ' (' + chart.x_name + ' ' + name(x) + ')';
      tip.append(Object.assign(document.createElement('div'),
                               {textContent: series.label + ': ' + show(y) + note}));
      const h = y === null ? 2 : place(y, chart.y, chart.log);
      if (h >= 0 && h <= 1) {
        cursor.append(element('circle', {class: 'c' + series.color, r: 4,
          cx: left + width * place(x, chart.x, chart.log_x), cy: top + height * (1 - h)}));
      }
    }
    tip.hidden = false;
    const x = at / scale, room = plot.clientWidth;
    tip.style.left = Math.max(0, x + 14 + tip.offsetWidth > room ? x - 14 - tip.offsetWidth : x + 14) + 'px';
  });
}
)js";

std::string PageBegin(absl::string_view title, absl::string_view lead) {
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      EscapeHtml(title), " \u2013 Wyvern</title>\n<style>", kReportStyle,
      "</style>\n</head>\n<body>\n<main>\n<h1>", EscapeHtml(title), "</h1>\n<p class=\"lead\">",
      EscapeHtml(lead), "</p>\n");
}

std::string PageEnd() {
  return absl::StrCat("</main>\n<script>", kReportScript, "</script>\n</body>\n</html>\n");
}

}  // namespace wyvern
