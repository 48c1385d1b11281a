'use strict';
// What goes wrong is kept where a test can see it.
const failures = [];
addEventListener('error', (event) => note(event.message));
addEventListener('unhandledrejection', (event) => note(String(event.reason)));
function note(message) {
  failures.push(message);
  document.documentElement.dataset.errors = JSON.stringify(failures);
}
document.documentElement.dataset.errors = '[]';

const $ = (id) => document.getElementById(id);

// Makes an element. Texts go in as texts: nothing of a trace is ever read as HTML.
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children);
  return node;
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (text) => text && new Float32Array(bytes(text).buffer);
const words = (text) => text && new Uint32Array(bytes(text).buffer);
const PHASES = ['prompt', 'response'];

// The columns of a trace's tokens, and the numbers that follow from them.
class Tokens {
  constructor(raw, info) {
    this.n = raw.n;
    this.layers = info.n_layers;
    this.info = info;
    this.sequence = words(raw.sequences);
    this.phase = bytes(raw.phases);
    this.position = words(raw.positions);
    this.id = words(raw.ids);
    this.piece = words(raw.piece_idx);
    this.pieces = raw.pieces;
    this.embedding = floats(raw.embedding_norms);
    this.delta = floats(raw.deltas);
    this.recorded = bytes(raw.active);
    this.executed = raw.executed && bytes(raw.executed);
    this.threshold = floats(raw.thresholds);
    this.norm = floats(raw.norms);
    this.cosine = floats(raw.cosines);
    this.contribution = floats(raw.contributions);
    this.hasIds = raw.has_ids;
  }

  // The tokens of a sequence and phase, in their order.
  of(sequence, phase) {
    const found = [];
    for (let i = 0; i < this.n; i++) {
      if (this.sequence[i] === sequence && this.phase[i] === phase) found.push(i);
    }
    return found;
  }

  label(i) { return this.pieces[this.piece[i]][1]; }
  spelling(i) { return this.pieces[this.piece[i]][0]; }

  wasActive(i, layer) {
    const bit = i * this.layers + layer;
    return (this.recorded[bit >> 3] >> (bit & 7)) & 1;
  }

  wasRun(i, layer) {
    if (!this.executed) return 1;
    const bit = i * this.layers + layer;
    return (this.executed[bit >> 3] >> (bit & 7)) & 1;
  }

  // Thresholds and flags of a token under an α: the gate's own arithmetic, in f32. What was
  // recorded is shown as it was recorded.
  gate(i, alpha) {
    const thresholds = new Float32Array(this.layers);
    const active = new Uint8Array(this.layers);
    const isRecorded = alpha === null || !this.info.can_sweep;
    const factor = isRecorded ? this.info.alpha : Math.fround(alpha);
    let min = 0, max = 0;
    for (let l = 0; l < this.layers; l++) {
      const delta = this.delta[i * this.layers + l];
      const range = l === 0 ? 0 : Math.fround(max - min);
      thresholds[l] = this.threshold ? this.threshold[i * this.layers + l] : Math.fround(range * factor);
      min = l === 0 ? delta : Math.min(min, delta);
      max = l === 0 ? delta : Math.max(max, delta);
      active[l] = isRecorded ? this.wasActive(i, l) : delta >= thresholds[l];
    }
    return { thresholds, active };
  }

  normAfter(i, layer) {
    if (this.norm) return this.norm[i * this.layers + layer];
    let norm = this.embedding[i];
    for (let l = 0; l <= layer; l++) norm += this.delta[i * this.layers + l];
    return norm;
  }
}

// Numbers for people.
function number(value, digits = 3) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size))))));
  return text.replace('-', '−');
}
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits).replace('-', '−')} %`;
const count = (n) => n.toLocaleString('en').replaceAll(',', '\u202f');
