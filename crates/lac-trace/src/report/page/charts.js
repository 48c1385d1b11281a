// Small charts in SVG. Every chart is redrawn for the width it has.
const SVG = 'http://www.w3.org/2000/svg';
function svg(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const redraw = new WeakMap();
// A redrawn chart may change the page's height: that waits for the next frame.
const resized = new ResizeObserver((entries) => requestAnimationFrame(() => {
  for (const entry of entries) redraw.get(entry.target)?.();
}));

// Adds a figure; `draw(frame)` is called whenever its width changes.
function figure(parent, title, caption, options) {
  const box = el('div');
  parent.append(el('figure', { class: 'chart' },
    el('figcaption', {}, el('h3', {}, title), el('p', { class: 'caption' }, caption)), box));
  let width = 0;
  redraw.set(box, () => {
    const now = Math.round(box.clientWidth);
    if (now === width || now === 0) return;
    width = now;
    box.replaceChildren(plot(width, { title, ...options }));
  });
  resized.observe(box);
  redraw.get(box)();
}

function ticks(low, high, n) {
  const raw = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= raw * 0.999);
  const out = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + step * 1e-9; t += step) out.push(Math.abs(t) < step * 1e-9 ? 0 : t);
  return out;
}

// Draws series over an x axis. A series: {color, points: [[x, y, low?, high?]], kind, dash}.
function plot(width, { title, series, x, y, marks = [], height = 230 }) {
  const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': `${title}. ${describe(series, y)}` });
  const left = 44, right = 10, top = 10, bottom = 38;
  const values = series.flatMap((s) => s.points.flatMap((p) => p.slice(1).filter(Number.isFinite)));
  let low = y.min ?? Math.min(0, ...values), high = y.max ?? Math.max(0, ...values);
  if (high <= low) high = low + 1;
  const yTicks = ticks(low, high, 4);
  if (y.max === undefined) high = Math.max(high, yTicks.at(-1) ?? high);
  const xs = (v) => left + ((v - x.min) / (x.max - x.min || 1)) * (width - left - right);
  const ys = (v) => height - bottom - ((v - low) / (high - low)) * (height - top - bottom);
  for (const t of yTicks) {
    root.append(svg('line', { class: t === 0 ? 'axis' : 'grid', x1: left, x2: width - right, y1: ys(t), y2: ys(t) }));
    const label = svg('text', { x: left - 7, y: ys(t) + 4, 'text-anchor': 'end' });
    label.textContent = y.format(t);
    root.append(label);
  }
  let last = -99;
  for (const [value, text] of x.ticks) {
    if (value < x.min || value > x.max) continue;
    const at = xs(value);
    const room = text.length * 6.5 + 8;
    if (at - last < room) continue;
    last = at;
    const label = svg('text', { x: at, y: height - bottom + 17, 'text-anchor': 'middle' });
    label.textContent = text;
    root.append(label);
  }
  const name = svg('text', { x: (left + width - right) / 2, y: height - 4, 'text-anchor': 'middle' });
  name.textContent = x.label;
  root.append(name);
  for (const mark of marks) {
    root.append(svg('line', { x1: xs(mark.x), x2: xs(mark.x), y1: top, y2: height - bottom, stroke: 'var(--soft)', 'stroke-dasharray': '3 3' }));
    const toTheRight = xs(mark.x) < width * 0.7;
    const label = svg('text', { x: xs(mark.x) + (toTheRight ? 5 : -5), y: top + 10, 'text-anchor': toTheRight ? 'start' : 'end' });
    label.textContent = mark.text;
    root.append(label);
  }
  const bars = series.filter((s) => s.kind === 'bars');
  series.forEach((s) => {
    const group = svg('g', { fill: s.color, stroke: s.color });
    if (s.kind === 'bars') {
      const slot = (width - left - right) / ((x.max - x.min) / (x.step ?? 1) || 1);
      const thick = Math.max(1.5, (slot * 0.72) / bars.length);
      const shift = (bars.indexOf(s) - (bars.length - 1) / 2) * thick;
      for (const [px, py] of s.points) {
        const base = ys(Math.min(Math.max(0, low), high)), tip = ys(py);
        group.append(svg('rect', { x: xs(px) + shift - thick / 2, y: Math.min(base, tip), width: Math.max(1, thick - (thick > 4 ? 1 : 0)), height: Math.max(0.5, Math.abs(base - tip)), rx: Math.min(2, thick / 4), stroke: 'none', fill: py < 0 && s.negative ? s.negative : s.color }));
      }
    } else {
      if (s.kind === 'band') {
        const up = s.points.map(([px, , , h]) => `${xs(px)},${ys(Math.min(h, high))}`);
        const down = s.points.map(([px, , l]) => `${xs(px)},${ys(Math.min(high, Math.max(l, low)))}`).reverse();
        group.append(svg('polygon', { points: [...up, ...down].join(' '), opacity: 0.16, stroke: 'none' }));
      }
      group.append(svg('polyline', { points: s.points.map(([px, py]) => `${xs(px)},${ys(Math.min(py, high))}`).join(' '), fill: 'none', 'stroke-width': 1.8, 'stroke-linejoin': 'round', 'stroke-dasharray': s.dash ?? 'none' }));
      if (s.kind === 'dots') {
        for (const [px, py, l, h] of s.points) {
          if (l !== undefined) group.append(svg('line', { x1: xs(px), x2: xs(px), y1: ys(l), y2: ys(h), 'stroke-width': 1.4, opacity: 0.55 }));
          group.append(svg('circle', { cx: xs(px), cy: ys(py), r: s.points.length > 50 ? 1.8 : 2.8, stroke: 'none' }));
        }
      }
    }
    root.append(group);
  });
  return root;
}

// A chart in words, for those who do not see it.
function describe(series, y) {
  return series.filter((s) => s.name && s.points.length).map((s) => {
    const best = s.points.reduce((a, b) => (b[1] > a[1] ? b : a));
    const least = s.points.reduce((a, b) => (b[1] < a[1] ? b : a));
    return `${s.name}: from ${y.format(least[1])} at ${best && least[0]} to ${y.format(best[1])} at ${best[0]}.`;
  }).join(' ');
}

function layerAxis(n, label = 'layer') {
  const step = n <= 16 ? 1 : n <= 40 ? 4 : 8;
  const all = [];
  for (let l = 0; l < n; l += step) all.push([l, String(l)]);
  return { min: -0.5, max: n - 0.5, ticks: all, label };
}

const SHARE = { min: 0, max: 1, format: (v) => percent(v) };
const NUMBER = { format: (v) => number(v) };
const COLORS = { prompt: 'var(--pp)', response: 'var(--rg)' };

// One series per phase that the summary has.
function perPhase(summary, make) {
  return PHASES.filter((name) => summary[name]).flatMap((name) => make(summary[name], COLORS[name], name));
}

// All charts of one trace.
function drawCharts(parent, trace) {
  const summary = trace.summary, n = trace.info.n_layers;
  parent.replaceChildren();
  figure(parent, 'Usage per layer', 'Share of tokens for which each layer is active, with 95 % intervals.', {
    x: layerAxis(n), y: SHARE,
    series: perPhase(summary, (p, color, name) => ({ name, color, kind: 'dots', points: p.usage_per_layer.map((u, l) => [l + (name === 'prompt' ? -0.09 : 0.09), u.share, u.low, u.high]) })),
  });
  const comparison = summary.comparison;
  if (comparison) {
    const facts = [['Jaccard index of the layers active for half of the tokens', comparison.jaccard], ['of the usages', comparison.weighted_jaccard], ['rank correlation', comparison.spearman]]
      .filter(([, value]) => value !== null).map(([what, value]) => `${what} ${number(value, 2)}`).join(', ');
    const extent = Math.max(0.05, ...comparison.difference.map(Math.abs));
    figure(parent, 'Response against prompt', `Usage in the response minus usage in the prompt. ${facts}.`, {
      x: layerAxis(n), y: { min: -extent, max: extent, format: (v) => (v > 0 ? '+' : '') + percent(v) },
      series: [{ name: 'difference', color: 'var(--rg)', negative: 'var(--pp)', kind: 'bars', points: comparison.difference.map((d, l) => [l, d]) }],
    });
  }
  figure(parent, 'Growth of the norm', 'Mean norm of the residual stream after each layer; the band is one standard deviation. E is the embedding.', {
    x: { ...layerAxis(n), min: -1, max: n - 0.5, ticks: [[-1, 'E'], ...layerAxis(n).ticks] }, y: NUMBER,
    series: perPhase(summary, (p, color, name) => ({ name, color, kind: 'band', points: p.norms.map((v, l) => [l - 1, v.mean, Math.max(v.min, v.mean - v.deviation), v.mean + v.deviation]) })),
  });
  const sweep = summary.alpha_sweep;
  if (sweep) {
    figure(parent, 'Usage under other α', 'Mean share of active layers, recomputed from the recorded deltas.', {
      x: { min: sweep.alphas[0], max: sweep.alphas.at(-1), ticks: ticks(sweep.alphas[0], sweep.alphas.at(-1), 5).map((t) => [t, number(t)]), label: 'α' }, y: SHARE,
      marks: [{ x: trace.info.alpha, text: `recorded, ${number(trace.info.alpha)}` }],
      series: PHASES.filter((name) => sweep[name].length).map((name) => ({ name, color: COLORS[name], kind: 'line', points: sweep[name].map((u, i) => [sweep.alphas[i], u]) })),
    });
  }
  const histogram = (key, from) => perPhase(summary, (p, color, name) => {
    const total = p[key].counts.reduce((a, b) => a + b, 0) || 1;
    return { name, color, kind: 'bars', points: p[key].counts.map((c, v) => [v, c / total]).slice(from) };
  });
  const means = (key) => perPhase(summary, (p, _, name) => `${number(p[key].mean)} in the ${name}`).join(', ');
  figure(parent, 'Voids per token', `Share of tokens with this many voids; ${means('voids')} on average.`, {
    x: { ...layerAxis(n + 1, 'voids') }, y: { min: 0, format: (v) => percent(v) }, series: histogram('voids', 0),
  });
  figure(parent, 'Runs of voids', `Share of runs of this many voids in successive layers; ${means('void_runs')} on average.`, {
    x: { ...layerAxis(n + 1, 'layers'), min: 0.5 }, y: { min: 0, format: (v) => percent(v) }, series: histogram('void_runs', 1),
  });
  if (n > 1) {
    // A share of a handful of tokens says nothing.
    const enough = (p) => Math.min(10, Math.max(1, p.n_tokens / 10));
    const after = (key, rest, dash) => perPhase(summary, (p, color, name) => ({ name: `${name}, after ${key}`, color, dash, kind: 'dots', points: p.transitions.map((t, l) => [l + 1, t[`${rest}_active`], t[`${rest}_active`] + t[`${rest}_void`]]).filter(([, , seen]) => seen >= enough(p)).map(([l, active, seen]) => [l, active / seen]) }));
    figure(parent, 'From layer to layer', 'How often a layer is active when the one before it was active (solid) or a void (dashed).', {
      x: layerAxis(n), y: SHARE, series: [...after('an active layer', 'active'), ...after('a void', 'void', '4 4')],
    });
  }
  const buckets = Math.max(...perPhase(summary, (p) => p.positions.map((q) => (q.first ? Math.log2(q.first) + 1 : 0))).flat(), 1);
  figure(parent, 'Usage by position', 'Mean share of active layers by the place of a token in its sequence, in steps that double.', {
    x: { min: -0.5, max: buckets + 0.5, label: 'position', ticks: Array.from({ length: buckets + 1 }, (_, b) => [b, b < 2 ? String(b) : `${2 ** (b - 1)}–`]) }, y: SHARE,
    series: perPhase(summary, (p, color, name) => ({ name, color, kind: 'dots', points: p.positions.map((q) => [q.first ? Math.log2(q.first) + 1 : 0, q.usage]) })),
  });
  for (const [key, title, caption, y] of [
    ['cosines', 'Cosine of input and output', 'Mean cosine between what a layer receives and what it gives; the band is one standard deviation.', { max: 1, format: (v) => number(v) }],
    ['contributions', 'Relative contribution', 'Mean length of what a layer adds, in units of the length of its input.', NUMBER]]) {
    // The first layer writes onto the small embedding: it may dwarf all others.
    const others = perPhase(summary, (p) => (p[key] ?? []).slice(1).map((v) => v.mean + v.deviation)).flat();
    const first = perPhase(summary, (p) => (p[key] ?? []).slice(0, 1).map((v) => v.mean)).flat();
    const isDwarfed = key === 'contributions' && others.length > 0 && Math.max(...first) > 3 * Math.max(...others);
    const text = isDwarfed ? `${caption} Layer 0 lies beyond the scale, at ${first.map((v) => number(v)).join(' and ')}.` : caption;
    const scale = isDwarfed ? { ...y, max: 1.25 * Math.max(...others) } : y;
    const series = perPhase(summary, (p, color, name) => (p[key] ? { name, color, kind: 'band', points: p[key].map((v, l) => [l, v.mean, Math.max(v.min, v.mean - v.deviation), Math.min(v.max, v.mean + v.deviation)]) } : []));
    if (series.length) figure(parent, title, text, { x: layerAxis(n), y: scale, series });
  }
}
