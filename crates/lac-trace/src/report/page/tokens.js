// The text and the token × layer matrix of one phase, and the tip that belongs to both.
const ROW = 20, AXIS = 24;

class Panel {
  constructor(node, phase, state) {
    this.node = node;
    this.phase = phase;
    this.state = state;
    this.selected = null;
    this.rowsShown = [];
  }

  // Shows the tokens of the state's sequence.
  show() {
    const { tokens, sequence } = this.state;
    this.rows = tokens.of(sequence, this.phase);
    this.selected = null;
    const title = this.phase === 0 ? 'Prompt (PP)' : 'Response (RG)';
    this.share = el('p');
    this.node.replaceChildren(el('header', {}, el('h3', {}, title), this.share));
    this.canvas = null;
    if (!this.rows.length) {
      const why = this.phase === 0 ? 'This sequence has no prompt tokens here.' : 'No response token was fed in this sequence.';
      this.node.append(el('p', { class: 'empty' }, why));
      return;
    }
    this.text = el('div', { class: 'text', tabindex: 0, role: 'region', 'aria-label': `${title}, text` });
    this.text.addEventListener('pointermove', (event) => this.overText(event));
    this.text.addEventListener('click', (event) => this.overText(event, true));
    this.text.addEventListener('pointerleave', () => hideTip());
    this.canvas = el('canvas', { 'aria-hidden': 'true' });
    this.spacer = el('div');
    this.scroller = el('div', {
      class: 'rows', tabindex: 0, role: 'application',
      'aria-label': `${title}: ${this.rows.length} tokens by ${tokens.layers} layers. Walk with the arrow keys.`,
    }, this.canvas, this.spacer);
    this.map = el('canvas', { class: 'map', 'aria-hidden': 'true' });
    this.node.append(this.text, el('div', { class: 'matrix' }, this.scroller, this.map), this.scale());
    this.scroller.addEventListener('scroll', () => this.later());
    this.scroller.addEventListener('pointermove', (event) => event.pointerType !== 'touch' && this.overCell(event));
    this.scroller.addEventListener('click', (event) => this.overCell(event));
    this.scroller.addEventListener('pointerleave', () => { if (document.activeElement !== this.scroller) this.clear(); });
    this.scroller.addEventListener('blur', () => this.clear());
    this.scroller.addEventListener('keydown', (event) => this.key(event));
    const jump = (event) => {
      if (event.type === 'pointermove' && !event.buttons) return;
      const share = event.offsetY / this.map.clientHeight;
      this.scroller.scrollTop = share * this.rows.length * ROW - this.scroller.clientHeight / 2;
    };
    this.map.addEventListener('pointerdown', jump);
    this.map.addEventListener('pointermove', jump);
    this.regate();
  }

  scale() {
    const isDelta = this.state.mode === 'delta';
    const box = (kind, text) => [el('b', { class: kind }), el('span', {}, text)];
    const notRun = this.state.tokens.executed ? box('skipped', 'not run') : [];
    const cells = isDelta ? [...box('', 'norm grows'), ...box('minus', 'norm shrinks')] : [...box('', 'active'), ...box('void', 'void')];
    return el('div', { class: 'scale' }, el('span', {}, '0'), el('i'), el('span', {}, `${this.state.tokens.layers} layers`), ...cells, ...notRun);
  }

  // Computes the flags under the state's α, and draws everything anew.
  regate() {
    if (!this.canvas) return;
    const { tokens, alpha } = this.state;
    this.gates = this.rows.map((i) => tokens.gate(i, alpha));
    this.active = this.gates.map((gate) => gate.active.reduce((a, b) => a + b, 0));
    const mean = this.active.reduce((a, b) => a + b, 0) / (this.rows.length * tokens.layers);
    this.share.textContent = `${count(this.rows.length)} ${this.rows.length === 1 ? 'token' : 'tokens'} · ${percent(mean, 1)} of the layers active`;
    const largest = this.rows.map((i) => {
      let most = 0;
      for (let l = 1; l < tokens.layers; l++) most = Math.max(most, Math.abs(tokens.delta[i * tokens.layers + l]));
      return most;
    }).sort((a, b) => a - b);
    this.reach = largest[Math.floor(largest.length * 0.9)] || 1;
    this.writeText();
    this.node.lastChild.replaceWith(this.scale());
    this.draw();
  }

  writeText() {
    const { tokens } = this.state;
    const spans = this.rows.map((i, row) => {
      const text = tokens.label(i);
      const isSpecial = /^<.*>$/s.test(text) && text.length > 2;
      const span = el('span', { 'data-row': row, style: `--k:${(this.active[row] / tokens.layers).toFixed(3)}`, class: isSpecial && 'special' });
      // An empty text still needs a place to point at.
      span.textContent = text === '' ? '∅' : text.replaceAll('\n', '↵\n');
      return span;
    });
    this.text.replaceChildren(...spans);
  }

  later() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  // Where the columns stand.
  layout() {
    const width = this.scroller.clientWidth, { layers } = this.state.tokens;
    const label = width < 420 ? 92 : 132, tally = 46;
    const cell = Math.min(30, (width - label - tally) / layers);
    return { width, label, cell, gap: cell >= 5 ? 1 : 0 };
  }

  draw() {
    if (!this.canvas || !this.scroller.clientWidth) return;
    const { tokens, mode } = this.state;
    const { width, label, cell, gap } = this.layout();
    const full = this.rows.length * ROW + AXIS;
    const height = Math.min(full, parseFloat(getComputedStyle(this.scroller).maxHeight) || 480);
    const ratio = devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.height = `${height}px`;
    this.spacer.style.height = `${full - height}px`;
    const paint = this.canvas.getContext('2d');
    const css = getComputedStyle(this.node);
    const color = (name) => css.getPropertyValue(name).trim();
    const [ink, soft, accent, empty, minus, line, card] = ['--ink', '--soft', '--accent', '--void', '--minus', '--line', '--card'].map(color);
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW));
    const end = Math.min(this.rows.length, Math.ceil((top + height - AXIS) / ROW));
    paint.textBaseline = 'middle';
    let cells = 0;
    for (let row = first; row < end; row++) {
      const y = AXIS + row * ROW - top, i = this.rows[row];
      if (this.selected?.row === row) {
        paint.fillStyle = line;
        paint.fillRect(0, y, width, ROW);
      }
      paint.font = '12.5px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace';
      paint.fillStyle = ink;
      paint.textAlign = 'right';
      paint.fillText(fit(paint, visible(tokens.label(i)), label - 20), label - 8, y + ROW / 2);
      for (let l = 0; l < tokens.layers; l++) {
        const x = label + l * cell;
        paint.globalAlpha = 1;
        if (!tokens.wasRun(i, l)) {
          paint.strokeStyle = soft;
          paint.globalAlpha = 0.5;
          paint.strokeRect(x + 0.5, y + 2.5, Math.max(1, cell - gap - 1), ROW - 5);
          continue;
        }
        if (mode === 'flags') {
          paint.fillStyle = empty;
          paint.fillRect(x, y + 2, cell - gap, ROW - 4);
          if (this.gates[row].active[l]) {
            paint.fillStyle = accent;
            paint.fillRect(x, y + 2, cell - gap, ROW - 4);
          }
        } else {
          const delta = tokens.delta[i * tokens.layers + l];
          paint.fillStyle = delta < 0 ? minus : accent;
          paint.globalAlpha = Math.min(1, Math.sqrt(Math.abs(delta) / this.reach));
          paint.fillRect(x, y + 2, cell - gap, ROW - 4);
        }
        cells++;
      }
      paint.globalAlpha = 1;
      if (this.selected?.row === row) {
        paint.strokeStyle = ink;
        paint.lineWidth = 2;
        paint.strokeRect(label + this.selected.layer * cell - 0.5, y + 1.5, Math.max(2, cell - gap + 1), ROW - 3);
        paint.lineWidth = 1;
      }
      paint.font = '11.5px system-ui, sans-serif';
      paint.fillStyle = soft;
      paint.textAlign = 'left';
      paint.fillText(`${this.active[row]}/${tokens.layers}`, label + tokens.layers * cell + 6, y + ROW / 2);
    }
    paint.fillStyle = card;
    paint.fillRect(0, 0, width, AXIS - 2);
    paint.fillStyle = soft;
    paint.font = '11.5px system-ui, sans-serif';
    paint.textAlign = 'right';
    paint.fillText('layer', label - 8, AXIS / 2);
    paint.textAlign = 'center';
    const step = [1, 2, 4, 5, 8, 10, 16, 20].find((s) => s * cell >= 22) ?? 40;
    for (let l = 0; l < tokens.layers; l += step) paint.fillText(String(l), label + (l + 0.5) * cell - gap / 2, AXIS / 2);
    this.drawMap(color, top, height, full);
    this.cells = cells;
    report();
  }

  // The whole phase at a glance: how full each token is, and the part that is in view.
  drawMap(color, top, height, full) {
    const ratio = devicePixelRatio || 1, { layers } = this.state.tokens;
    this.map.style.height = `${height}px`;
    this.map.width = 17 * ratio;
    this.map.height = height * ratio;
    const paint = this.map.getContext('2d');
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.fillStyle = color('--accent');
    const lines = Math.min(height, this.rows.length);
    for (let line = 0; line < lines; line++) {
      const from = Math.floor((line * this.rows.length) / lines), to = Math.max(from + 1, Math.floor(((line + 1) * this.rows.length) / lines));
      let sum = 0;
      for (let row = from; row < to; row++) sum += this.active[row];
      paint.globalAlpha = 0.75;
      paint.fillRect(0, (line * height) / lines, (17 * sum) / ((to - from) * layers), Math.max(1, height / lines));
    }
    if (full > height + 1) {
      paint.globalAlpha = 0.14;
      paint.fillStyle = color('--ink');
      paint.fillRect(0, (top / full) * height, 17, Math.max(6, (height / full) * height));
    }
  }

  overCell(event) {
    const box = this.canvas.getBoundingClientRect();
    const { label, cell } = this.layout();
    const row = Math.floor((event.clientY - box.top - AXIS + this.scroller.scrollTop) / ROW);
    const layer = Math.min(this.state.tokens.layers - 1, Math.max(0, Math.floor((event.clientX - box.left - label) / cell)));
    if (event.clientY - box.top < AXIS || row < 0 || row >= this.rows.length) return;
    this.select(row, layer, event);
  }

  overText(event, isClick) {
    const row = event.target.dataset?.row;
    if (row === undefined) return hideTip();
    this.select(Number(row), null, event);
    if (isClick) this.reveal(Number(row));
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2), last = this.rows.length - 1, layers = this.state.tokens.layers - 1;
    const { row, layer } = this.selected ?? { row: Math.floor(this.scroller.scrollTop / ROW), layer: 0 };
    const moves = {
      ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [page, 0], PageUp: [-page, 0],
      Home: [event.ctrlKey ? -row : 0, -layer], End: [event.ctrlKey ? last - row : 0, layers - layer],
    };
    if (event.key === 'Escape') return this.clear();
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const by = this.selected ? move : [0, 0];
    const next = [Math.min(last, Math.max(0, row + by[0])), Math.min(layers, Math.max(0, layer + by[1]))];
    this.reveal(next[0]);
    this.select(next[0], next[1], null);
  }

  reveal(row) {
    const y = row * ROW, view = this.scroller.clientHeight - AXIS;
    if (y < this.scroller.scrollTop) this.scroller.scrollTop = y;
    else if (y + ROW > this.scroller.scrollTop + view) this.scroller.scrollTop = y + ROW - view;
  }

  // Selects a cell, or with no layer a token of the text.
  select(row, layer, event) {
    const isSame = this.selected?.row === row && this.selected?.layer === layer;
    if (!isSame) {
      this.text.querySelector('.on')?.classList.remove('on');
      this.text.children[row].classList.add('on');
      this.selected = { row, layer: layer ?? this.selected?.layer ?? 0 };
      this.draw();
    }
    const box = this.canvas.getBoundingClientRect(), { label, cell } = this.layout();
    const at = event ? [event.clientX, event.clientY] : [box.left + label + (layer + 1) * cell, box.top + AXIS + (row + 1) * ROW - this.scroller.scrollTop];
    showTip(this, row, layer, at);
    if (!event && layer !== null) $('live').textContent = this.words(row, layer);
  }

  clear() {
    this.text?.querySelector('.on')?.classList.remove('on');
    if (this.selected) {
      this.selected = null;
      this.draw();
    }
    hideTip();
  }

  words(row, layer) {
    const { tokens } = this.state, i = this.rows[row], gate = this.gates[row];
    const verdict = !tokens.wasRun(i, layer) ? 'not run' : gate.active[layer] ? 'active' : 'void';
    return `${visible(tokens.label(i))}, layer ${layer}: ${verdict}, delta ${number(tokens.delta[i * tokens.layers + layer])}, lambda ${number(gate.thresholds[layer])}`;
  }
}

// A token's text on one line: what cannot be seen is shown by a sign.
const visible = (text) => (text === '' ? '∅' : text.replaceAll('\n', '↵').replaceAll('\t', '⇥').replace(/^ | $/g, '·'));

function fit(paint, text, room) {
  if (paint.measureText(text).width <= room) return text;
  const letters = Array.from(text);
  while (letters.length && paint.measureText(`${letters.join('')}…`).width > room) letters.pop();
  return `${letters.join('')}…`;
}

function hideTip() { $('tip').hidden = true; }

function showTip(panel, row, layer, [x, y]) {
  const { tokens } = panel.state, i = panel.rows[row], gate = panel.gates[row], n = tokens.layers;
  const tip = $('tip');
  const id = tokens.hasIds ? `id ${tokens.id[i]} · ` : '';
  const parts = [el('div', { class: 'head' }, el('span', { class: 'piece' }, visible(tokens.label(i))), el('small', {}, `${id}position ${tokens.position[i]}`))];
  const facts = [];
  if (layer === null) {
    parts.push(el('p', { class: 'verdict' }, `${panel.active[row]} of ${n} layers active`));
  } else {
    const verdict = !tokens.wasRun(i, layer) ? 'not run' : gate.active[layer] ? 'active' : 'void';
    parts.push(el('p', { class: 'verdict' }, `Layer ${layer}: ${verdict}`));
    facts.push(['Δ', number(tokens.delta[i * n + layer], 4)], ['λ', number(gate.thresholds[layer], 4)], ['norm', number(tokens.normAfter(i, layer), 4)]);
    if (tokens.cosine) facts.push(['cosine', number(tokens.cosine[i * n + layer])], ['adds', number(tokens.contribution[i * n + layer])]);
  }
  if (facts.length) parts.push(el('dl', {}, ...facts.flatMap(([key, value]) => [el('dt', {}, key), el('dd', {}, value)])));
  parts.push(profile(panel, i, gate, layer));
  tip.replaceChildren(...parts);
  tip.hidden = false;
  const width = tip.offsetWidth, height = tip.offsetHeight;
  const left = x + 18 + width < innerWidth ? x + 18 : Math.max(8, x - width - 14);
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(8, Math.min(y + 14, innerHeight - height - 8))}px`;
}

// The token's deltas over the layers as bars, and the thresholds as a line.
function profile(panel, i, gate, layer) {
  const { tokens } = panel.state, n = tokens.layers, width = 250, height = 64;
  const deltas = Array.from({ length: n }, (_, l) => tokens.delta[i * n + l]);
  // The first layer often dwarfs the others: the scale is that of the rest.
  const reach = Math.max(...deltas.slice(1).map(Math.abs), 1e-9) * 1.15;
  const low = Math.min(0, ...deltas.slice(1)) < 0 ? -reach * 0.6 : 0;
  const ys = (v) => height - 4 - ((Math.min(reach, Math.max(low, v)) - low) / (reach - low)) * (height - 8);
  const slot = width / n;
  const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' });
  const accent = panel.phase === 0 ? 'var(--pp)' : 'var(--rg)';
  deltas.forEach((delta, l) => root.append(svg('rect', {
    x: l * slot + 0.5, width: Math.max(1, slot - 1), y: Math.min(ys(0), ys(delta)), height: Math.max(1, Math.abs(ys(delta) - ys(0))),
    fill: gate.active[l] ? accent : 'var(--soft)', opacity: gate.active[l] ? 1 : 0.45, stroke: l === layer ? 'var(--ink)' : 'none',
  })));
  const line = Array.from(gate.thresholds).flatMap((v, l) => [`${l * slot},${ys(v)}`, `${(l + 1) * slot},${ys(v)}`]);
  root.append(svg('polyline', { points: line.join(' '), fill: 'none', stroke: 'var(--ink)', 'stroke-width': 1.2, 'stroke-dasharray': '3 2' }));
  return root;
}
