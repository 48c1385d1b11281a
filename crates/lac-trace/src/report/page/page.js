// Puts the page together.
const data = JSON.parse($('data').textContent);
const state = { trace: null, tokens: null, sequence: 0, alpha: null, mode: 'flags' };
const panels = [new Panel($('panel-prompt'), 0, state), new Panel($('panel-response'), 1, state)];

// What was drawn, for tests: `data-…` of the document.
function report() {
  const shown = document.documentElement.dataset;
  shown.tokens = panels.reduce((n, panel) => n + (panel.canvas ? panel.rows.length : 0), 0);
  shown.cells = panels.reduce((n, panel) => n + (panel.canvas ? panel.cells ?? 0 : 0), 0);
  shown.charts = document.querySelectorAll('.chart svg').length;
}

function openTrace(idx) {
  const trace = data.traces[idx];
  state.trace = trace;
  state.tokens = new Tokens(trace.tokens, trace.info);
  state.alpha = null;
  [...$('traces').children].forEach((tab, i) => tab.setAttribute('aria-pressed', String(i === idx)));
  const { info } = trace;
  $('settings').textContent = [info.model, info.dtype, info.device, `policy ${info.policy}`, `α ${number(info.alpha)}`, info.rounding === 'f32' ? '' : `gate rounded to ${info.rounding}`, info.seed === null ? '' : `seed ${info.seed}`].filter(Boolean).join(' · ');
  const notices = [];
  if (trace.state === 'interrupted') notices.push('The run was interrupted: this is what had been written by then.');
  if (trace.tokens.n < trace.n_tokens) notices.push(`The first ${count(trace.tokens.n)} of ${count(trace.n_tokens)} tokens are shown one by one; the charts and tables count all of them.`);
  $('notice').hidden = !notices.length;
  $('notice').textContent = notices.join(' ');
  tiles(trace);
  const sequences = [...new Set(state.tokens.sequence)];
  state.sequence = sequences[0] ?? 0;
  $('sequence-field').hidden = sequences.length < 2;
  $('sequence').replaceChildren(...sequences.map((s) => el('option', { value: s }, `${s}: ${opening(s)}`)));
  alphaControl(trace);
  panels.forEach((panel) => panel.show());
  drawCharts($('charts'), trace);
  experts(trace);
  relations(trace);
  kinds(trace);
  worked(trace);
  numbers(trace);
  about(trace);
  report();
}

// The first words of a sequence that tell it from others: those of its longest common text.
function opening(sequence) {
  const { tokens } = state;
  const text = tokens.of(sequence, 0).slice(0, 60).map((i) => tokens.label(i)).filter((t) => !/^<.*>$/s.test(t)).join('');
  const plain = text.replace(/\s+/g, ' ').trim();
  return plain.length > 48 ? `${plain.slice(0, 47)}…` : plain || '…';
}

function tiles(trace) {
  const { summary, info } = trace;
  const tile = (kind, title, big, small) => el('div', { class: `tile ${kind}` }, el('dl', {}, el('dt', {}, title), el('dd', { class: 'big' }, big), el('dd', { class: 'small' }, small)));
  const phase = (name, title, kind) => {
    const p = summary[name];
    if (!p) return tile(kind, title, '–', 'no tokens');
    return tile(kind, title, percent(p.usage, 1), `of the layers active, ${count(p.n_tokens)} ${p.n_tokens === 1 ? 'token' : 'tokens'}; 95 %: ${percent(p.usage_interval.low, 1)} to ${percent(p.usage_interval.high, 1)}`);
  };
  const run = PHASES.filter((name) => summary[name]).map((name) => `${number(summary[name].executed_layers)}`);
  const longest = PHASES.filter((name) => summary[name]).map((name) => `${number(summary[name].longest_void_run.mean)}`);
  $('tiles').replaceChildren(
    phase('prompt', 'Prompt (PP)', 'pp'), phase('response', 'Response (RG)', 'rg'),
    tile('', 'Layers run per token', [...new Set(run)].join(' / '), `of ${info.n_layers}; what was flagged is another number`),
    tile('', 'Longest run of voids', longest.join(' / '), `layers on average, ${PHASES.filter((name) => summary[name]).join(' / ')}`));
}

function alphaControl(trace) {
  const sweep = trace.summary.alpha_sweep;
  $('alpha-field').hidden = !trace.info.can_sweep || !sweep;
  if ($('alpha-field').hidden) return;
  const slider = $('alpha');
  Object.assign(slider, { min: 0, max: 2, step: 0.01 });
  slider.value = trace.info.alpha;
  const say = () => {
    $('alpha-value').textContent = number(state.alpha ?? trace.info.alpha);
    $('alpha-note').textContent = state.alpha === null ? 'as recorded' : 'recomputed from Δ';
    $('alpha-reset').hidden = state.alpha === null;
  };
  slider.oninput = () => {
    state.alpha = Number(slider.value) === Number(trace.info.alpha.toFixed(2)) ? null : Number(slider.value);
    say();
    panels.forEach((panel) => panel.regate());
  };
  $('alpha-reset').onclick = () => {
    state.alpha = null;
    slider.value = trace.info.alpha;
    say();
    panels.forEach((panel) => panel.regate());
    slider.focus();
  };
  say();
}

function table(head, rows) {
  return el('table', {}, el('thead', {}, el('tr', {}, ...head.map((h) => el('th', { scope: 'col' }, h)))), el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((cell, i) => (i ? el('td', {}, cell) : el('th', { scope: 'row' }, cell)))))));
}

function experts(trace) {
  const parts = [];
  const value = (v, digits = 3) => (v === null ? '–' : number(v, digits));
  for (const name of PHASES) {
    const layers = (trace.summary[name]?.experts ?? []).map((layer, l) => [layer, l]).filter(([layer]) => layer);
    if (!layers.length) continue;
    const rows = layers.map(([layer, l]) => {
      const interval = layer.correlation_interval;
      const range = interval ? ` (${number(interval.low, 2)} to ${number(interval.high, 2)})` : '';
      return [String(l), percent(layer.active.share, 1), value(layer.entropy), count(layer.experts_used), percent(layer.top_expert_share, 1), value(layer.top_weight_active), value(layer.top_weight_void), `${value(layer.correlation, 2)}${range}`];
    });
    const head = ['layer', 'active', 'entropy', 'experts used', 'most used', 'weight, active', 'weight, void', 'weight and Δ'];
    const box = el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Experts, ${name}` }, table(head, rows));
    parts.push(el('div', { class: `table ${name === 'response' ? 'rg' : 'pp'}` }, el('h3', {}, name === 'prompt' ? 'Prompt' : 'Response'), box));
  }
  $('experts').hidden = !parts.length;
  $('experts-tables').replaceChildren(...parts);
}

// Correlations and two-way tables of masks, influence and what a lens saw.
function relations(trace) {
  const tables = [], series = { influence: [], gain: [] };
  const value = (v, digits = 3) => (v === null || v === undefined ? '–' : number(v, digits));
  const related = (r) => `${value(r.correlation, 2)}${r.interval ? ` (${number(r.interval.low, 2)} to ${number(r.interval.high, 2)})` : ''}`;
  const shareOf = (s) => `${percent(s.share, 1)} (${percent(s.low, 1)} – ${percent(s.high, 1)})`;
  for (const name of PHASES) {
    const r = trace.summary[name]?.relations;
    if (!r) continue;
    const kind = name === 'response' ? 'rg' : 'pp', title = name === 'prompt' ? 'Prompt' : 'Response';
    const columns = [];
    const add = (head, cell) => columns.push([head, cell]);
    if (r.layers.some((l) => l.influence_active !== null || l.influence_void !== null)) {
      add('influence, active', (l) => value(l.influence_active, 4));
      add('influence, void', (l) => value(l.influence_void, 4));
      add('influence and Δ', (l) => related(l.influence_and_delta));
      series.influence.push([name, kind, r.layers.map((l) => [l.influence_active, l.influence_void])]);
    }
    if (r.layers.some((l) => l.gain_active !== null || l.gain_void !== null)) {
      add('gain, active', (l) => value(l.gain_active));
      add('gain, void', (l) => value(l.gain_void));
      add('gain and Δ', (l) => related(l.gain_and_delta));
      if (columns.length > 3) add('gain and influence', (l) => related(l.gain_and_influence));
    }
    const pairs = [['void by the norm', 'void by influence', r.norm_and_influence], ['void by the norm', 'decided', r.norm_and_decided], ['void by influence', 'decided', r.influence_and_decided]].filter(([, , t]) => t);
    const rows = pairs.map(([first, second, t]) => [`${second}, if ${first}`, shareOf(t.given), shareOf(t.otherwise), value(t.phi, 2)]);
    if (rows.length) tables.push(el('div', { class: `table ${kind}` }, el('h3', {}, `${title}, tokens and layers`), el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Two-way tables, ${name}` }, table(['share', 'if so', 'if not', 'φ'], rows)), el('p', { class: 'note' }, r.decided_at === null ? '' : `Answers are decided at layer ${number(r.decided_at, 1)} on average.`)));
    const layers = r.layers.map((l, idx) => [String(idx), ...columns.map(([, cell]) => cell(l))]);
    tables.push(el('details', {}, el('summary', {}, `${title}, per layer`), el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Relations per layer, ${name}` }, table(['layer', ...columns.map(([head]) => head)], layers))));
  }
  $('relations').hidden = !tables.length;
  $('relation-tables').replaceChildren(...tables);
  $('relation-charts').replaceChildren();
  if (series.influence.length) {
    const lines = series.influence.flatMap(([name, kind, layers]) => [0, 1].map((which) => ({ name: `${name}, ${which ? 'void' : 'active'}`, color: `var(--${kind})`, dash: which ? '4 3' : undefined, kind: 'line', points: layers.map((l, idx) => [idx, l[which]]).filter(([, v]) => v !== null) })));
    const top = Math.max(...lines.flatMap((line) => line.points.map(([, v]) => v)), 1e-6);
    figure($('relation-charts'), 'Block influence, active and void', 'Mean over the tokens for which a layer was active (solid) and void (dashed).', { x: layerAxis(trace.info.n_layers), y: { min: 0, max: top, format: (v) => number(v) }, series: lines });
  }
}

const KINDS = { word_start: 'word begins', word_part: 'within a word', digits: 'digits', punctuation: 'punctuation', space: 'spaces, line ends', special: 'special', other: 'other' };

function kinds(trace) {
  const parts = [];
  for (const name of PHASES) {
    const classes = trace.summary[name]?.classes ?? [];
    if (!classes.length) continue;
    const rows = classes.map((c) => [KINDS[c.class] ?? c.class, count(c.n_tokens), `${percent(c.usage.share, 1)} (${percent(c.usage.low, 1)} – ${percent(c.usage.high, 1)})`]);
    parts.push(el('div', { class: `table ${name === 'response' ? 'rg' : 'pp'}` }, el('h3', {}, name === 'prompt' ? 'Prompt' : 'Response'), table(['kind', 'tokens', 'layers active'], rows)));
  }
  $('kinds').replaceChildren(...parts);
}

function worked(trace) {
  const { summary, info, labels } = trace;
  const parts = [];
  let from = 1;
  for (const name of PHASES) {
    const p = summary[name];
    if (!p || !p.most_worked.length) continue;
    from = Math.max(from, p.ranked_from);
    const bar = (share) => { const fill = el('i'); fill.style.width = percent(share, 1); return el('span', { class: 'bar', 'aria-hidden': 'true' }, fill); };
    for (const [key, title] of [['most_worked', 'most'], ['least_worked', 'least']]) {
      const rows = p[key].slice(0, 10).map((t) => {
        const cell = el('span');
        cell.append(bar(t.mean_active / info.n_layers), ` ${number(t.mean_active)}`);
        return [el('span', { class: 'piece' }, visible(labels[t.token_id] ?? t.piece ?? `#${t.token_id}`)), count(t.n), cell];
      });
      parts.push(el('div', { class: `table ${name === 'response' ? 'rg' : 'pp'}` }, el('h3', {}, `${name === 'prompt' ? 'Prompt' : 'Response'}, ${title} layers`), table(['token', 'times', 'active layers'], rows)));
    }
  }
  $('worked').replaceChildren(...parts);
  $('worked-lead').textContent = parts.length ? `Mean number of active layers per entry of the vocabulary${from > 1 ? ', for entries seen often enough' : ''}.` : 'The trace has no token ids.';
}

function numbers(trace) {
  const { summary, info } = trace;
  const head = ['layer'], columns = [];
  for (const name of PHASES) {
    const p = summary[name];
    if (!p) continue;
    const short = name === 'prompt' ? 'PP' : 'RG';
    head.push(`${short} usage`, `${short} 95 %`, `${short} norm`, `${short} Δ`);
    columns.push((l) => percent(p.usage_per_layer[l].share, 1), (l) => `${percent(p.usage_per_layer[l].low, 1)} – ${percent(p.usage_per_layer[l].high, 1)}`, (l) => number(p.norms[l + 1].mean), (l) => number(p.deltas[l].mean));
  }
  $('numbers').replaceChildren(table(head, Array.from({ length: info.n_layers }, (_, l) => [String(l), ...columns.map((c) => c(l))])));
}

function about(trace) {
  const rows = Object.entries({ file: trace.file, model: trace.info.model, layers: trace.info.n_layers, 'data type': trace.info.dtype, device: trace.info.device, policy: trace.info.policy, 'α': trace.info.alpha, 'gate rounding': trace.info.rounding, seed: trace.info.seed ?? 'none', tokens: trace.n_tokens, 'lac version': trace.info.lac_version, ...trace.info.notes });
  $('about').replaceChildren(table(['', ''], rows.map(([key, value]) => [key, String(value)])));
}

function compare() {
  if (data.traces.length < 2) return;
  $('compare').hidden = false;
  const color = (i) => `var(--t${i % 6})`;
  $('compare-legend').replaceChildren(...data.traces.map((trace, i) => { const key = el('span', { class: 'key' }, trace.title); key.style.setProperty('--accent', color(i)); return key; }));
  const parent = $('compare-charts');
  const most = Math.max(...data.traces.map((trace) => trace.info.n_layers));
  const isOneDepth = data.traces.every((trace) => trace.info.n_layers === most);
  for (const [phase, title] of [['prompt', 'Usage per layer, prompt'], ['response', 'Usage per layer, response']]) {
    const having = data.traces.map((trace, i) => [trace, i]).filter(([trace]) => trace.summary[phase]);
    if (!having.length) continue;
    figure(parent, title, isOneDepth ? 'Share of tokens for which each layer is active.' : 'Share of tokens for which each layer is active, over the depth of each model.', {
      x: isOneDepth ? layerAxis(most) : { min: 0, max: 1, label: 'depth', ticks: [[0, 'first layer'], [1, 'last']] }, y: SHARE,
      series: having.map(([trace, i]) => ({ name: trace.title, color: color(i), dash: i ? `${3 + 2 * i} 3` : undefined, kind: 'line', points: trace.summary[phase].usage_per_layer.map((u, l) => [isOneDepth ? l : l / Math.max(1, trace.info.n_layers - 1), u.share]) })),
    });
    const swept = having.filter(([trace]) => trace.summary.alpha_sweep);
    if (swept.length) {
      const { alphas } = swept[0][0].summary.alpha_sweep;
      figure(parent, `Usage under other α, ${phase}`, 'Mean share of active layers, recomputed from the recorded deltas.', {
        x: { min: alphas[0], max: alphas.at(-1), ticks: ticks(alphas[0], alphas.at(-1), 5).map((t) => [t, number(t)]), label: 'α' }, y: SHARE,
        series: swept.map(([trace, i]) => ({ name: trace.title, color: color(i), dash: i ? `${3 + 2 * i} 3` : undefined, kind: 'line', points: trace.summary.alpha_sweep[phase].map((u, k) => [trace.summary.alpha_sweep.alphas[k], u]) })),
      });
    }
  }
  if (data.agreements.length) {
    const show = (value) => (value === null ? '–' : percent(value, 2));
    const rows = data.agreements.map((a) => [`${data.traces[a.left].title} ↔ ${data.traces[a.right].title}`, count(a.n_tokens), show(a.prompt), show(a.response), show(a.masks), number(a.delta_distance)]);
    const box = el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Agreement' }, table(['traces', 'tokens compared', 'equal flags, prompt', 'equal flags, response', 'equal masks', 'mean |Δ − Δ′|'], rows));
    $('agreements').append(el('h3', {}, 'Agreement on the same tokens'), box);
    $('agreements').style.marginTop = '1.2rem';
  }
}

if (data.traces.length > 1) {
  $('traces').hidden = false;
  $('traces').append(...data.traces.map((trace, i) => {
    const tab = el('button', { type: 'button', 'aria-pressed': 'false' }, trace.title);
    tab.addEventListener('click', () => openTrace(i));
    return tab;
  }));
}
$('sequence').addEventListener('change', (event) => {
  state.sequence = Number(event.target.value);
  panels.forEach((panel) => panel.show());
});
document.querySelectorAll('input[name="mode"]').forEach((radio) => radio.addEventListener('change', () => {
  state.mode = radio.value;
  panels.forEach((panel) => panel.regate());
}));
let lastWidth = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === lastWidth) return;
  lastWidth = innerWidth;
  panels.forEach((panel) => panel.draw());
});
addEventListener('scroll', hideTip, { passive: true });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => panels.forEach((panel) => panel.draw()));
openTrace(0);
compare();
document.documentElement.dataset.ready = '1';
report();
