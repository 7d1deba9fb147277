// The explorer: a trained model that runs in the page, on the reader's own picture.
// First the model in plain JavaScript, then what is asked of it, then the page.

// ---- numbers -----------------------------------------------------------------------------------

const bytesOf = text => {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
};

const textOf = bytes => {
  let raw = '';
  for (const b of bytes) raw += String.fromCharCode(b);
  return btoa(raw);
};

// Half precision: one bit of sign, five of exponent, ten of fraction.
const floatsOf = (text, half) => {
  const {buffer} = bytesOf(text);
  if (!half) return new Float32Array(buffer);
  return Float32Array.from(new Uint16Array(buffer), h => {
    const e = h >> 10 & 31, f = h & 1023;
    const size = e ? 2**(e - 15)*(1 + f/1024) : 2**-14*f/1024;
    return h >> 15 ? -size : size;
  });
};

// y = x wᵀ + b, four rows and four outputs at a time: each number fetched is used four times.
// x is (rows, inner), w is (outer, inner). At an edge the last row or output is worked out again.
const linear = (x, w, b, rows, inner, outer) => {
  const y = new Float32Array(rows*outer);
  for (let r = 0; r < rows; r += 4) {
    const r1 = Math.min(r + 1, rows - 1), r2 = Math.min(r + 2, rows - 1),
      r3 = Math.min(r + 3, rows - 1);
    const a0 = r*inner, a1 = r1*inner, a2 = r2*inner, a3 = r3*inner;
    const y0 = r*outer, y1 = r1*outer, y2 = r2*outer, y3 = r3*outer;
    for (let o = 0; o < outer; o += 4) {
      const o1 = Math.min(o + 1, outer - 1), o2 = Math.min(o + 2, outer - 1),
        o3 = Math.min(o + 3, outer - 1);
      const b0 = o*inner, b1 = o1*inner, b2 = o2*inner, b3 = o3*inner;
      let s00 = b ? b[o] : 0, s01 = b ? b[o1] : 0, s02 = b ? b[o2] : 0, s03 = b ? b[o3] : 0;
      let s10 = s00, s11 = s01, s12 = s02, s13 = s03, s20 = s00, s21 = s01, s22 = s02, s23 = s03;
      let s30 = s00, s31 = s01, s32 = s02, s33 = s03;
      for (let i = 0; i < inner; i++) {
        const x0 = x[a0 + i], x1 = x[a1 + i], x2 = x[a2 + i], x3 = x[a3 + i];
        const w0 = w[b0 + i], w1 = w[b1 + i], w2 = w[b2 + i], w3 = w[b3 + i];
        s00 += x0*w0; s01 += x0*w1; s02 += x0*w2; s03 += x0*w3;
        s10 += x1*w0; s11 += x1*w1; s12 += x1*w2; s13 += x1*w3;
        s20 += x2*w0; s21 += x2*w1; s22 += x2*w2; s23 += x2*w3;
        s30 += x3*w0; s31 += x3*w1; s32 += x3*w2; s33 += x3*w3;
      }
      y[y0 + o] = s00; y[y0 + o1] = s01; y[y0 + o2] = s02; y[y0 + o3] = s03;
      y[y1 + o] = s10; y[y1 + o1] = s11; y[y1 + o2] = s12; y[y1 + o3] = s13;
      y[y2 + o] = s20; y[y2 + o1] = s21; y[y2 + o2] = s22; y[y2 + o3] = s23;
      y[y3 + o] = s30; y[y3 + o1] = s31; y[y3 + o2] = s32; y[y3 + o3] = s33;
    }
  }
  return y;
};

const layerNorm = (x, w, b, width) => {
  const y = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    let mean = 0, spread = 0;
    for (let i = 0; i < width; i++) mean += x[at + i]/width;
    for (let i = 0; i < width; i++) spread += (x[at + i] - mean)**2/width;
    const by = 1/Math.sqrt(spread + 1e-5);
    for (let i = 0; i < width; i++) y[at + i] = (x[at + i] - mean)*by*w[i] + b[i];
  }
  return y;
};

// Exact GELU: the error function after Abramowitz and Stegun 7.1.26, to 1.5e-7.
const gelu = x => {
  for (let i = 0; i < x.length; i++) {
    const z = Math.abs(x[i])*Math.SQRT1_2, t = 1/(1 + .3275911*z);
    const series = t*(.254829592 +
      t*(-.284496736 + t*(1.421413741 + t*(-1.453152027 + t*1.061405429))));
    const tail = .5*series*Math.exp(-z*z);
    x[i] *= x[i] < 0 ? tail : 1 - tail;
  }
  return x;
};

const add = (x, y) => {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
  return x;
};

// A convolution whose kernel is its stride. x is (channels, side, side); depthwise or full.
const convolve = (x, w, b, channels, side, kernel, outer, depthwise) => {
  const grid = side/kernel, y = new Float32Array(outer*grid*grid), area = kernel*kernel;
  for (let o = 0; o < outer; o++) for (let r = 0; r < grid; r++) for (let c = 0; c < grid; c++) {
    let sum = b ? b[o] : 0;
    const from = depthwise ? o : 0, to = depthwise ? o + 1 : channels;
    for (let ch = from; ch < to; ch++) for (let i = 0; i < kernel; i++) {
      const at = (ch*side + r*kernel + i)*side + c*kernel;
      const k = o*(to - from)*area + (ch - from)*area + i*kernel;
      for (let j = 0; j < kernel; j++) sum += x[at + j]*w[k + j];
    }
    y[(o*grid + r)*grid + c] = sum;
  }
  return y;
};

// ---- the model ---------------------------------------------------------------------------------

const makeNet = data => {
  const floats = floatsOf(data.weights.bytes, data.weights.precision == 'half'), t = {};
  let at = 0;
  for (const [name, size] of data.weights.tensors) t[name] = floats.subarray(at, at += size);
  const c = data.config, before = c.mix_before || [];
  // tokens a region, by stage
  const mixed = [data.scale.length/data.regions, ...(c.n_mixed || [])];
  const stageOf = k => before.filter(b => b <= k).length;                    // of block k, from 1
  return {data, t, config: c, before, mixed, stageOf, depth: c.depth, heads: c.heads, dim: c.dim,
    sizes: mixed.map(n => n*data.regions),
    position: t['tokenizer.pos'] || positions(data, c.dim)};     // stored, if they are no sines
};

// sin(r w), cos(r w), sin(c w), cos(c w) of each token's row and column in its own grid.
const positions = (data, dim) => {
  const m = dim/4, out = new Float32Array(data.scale.length*dim);
  data.cells.forEach((at, i) => {
    for (let a = 0; a < 2; a++) for (let k = 0; k < m; k++) {
      const angle = at[a]*10000**(-k/m);
      out[i*dim + 2*a*m + k] = Math.sin(angle);
      out[i*dim + (2*a + 1)*m + k] = Math.cos(angle);
    }
  });
  return out;
};

// Bytes to floats with about zero mean, as the recipe does it.
const normalized = (data, pixels) => {
  const area = data.side**2;
  return Float32Array.from(pixels, (v, i) => {
    const c = Math.floor(i/area);
    return (v/255 - data.mean[c])/data.std[c];
  });
};

// One scale's feature map, (dim, grid, grid).
const embed = (net, k, x) => {
  const {data, t, dim, config} = net, patch = data.patches[k], channels = config.in_chans;
  const name = `tokenizer.embeds.${k}`, side = data.side;
  if (k < config.plain_scales)
    return convolve(x, t[`${name}.weight`], t[`${name}.bias`], channels, side, patch, dim, false);
  const small = convolve(x, t[`${name}.0.weight`], null, channels, side, patch/4, channels, true);
  const one = convolve(small, t[`${name}.1.weight`], null, channels, 4*side/patch, 4, channels,
    true);
  return convolve(one, t[`${name}.2.weight`], t[`${name}.2.bias`], channels, side/patch, 1, dim,
    false);
};

// The sequence that enters the first block: class token, then the tokens in their order.
const sequence = (net, pixels) => {
  const {data, dim, t, position} = net, x = normalized(data, pixels);
  const maps = data.patches.map((_, k) => embed(net, k, x));
  const out = new Float32Array((1 + data.scale.length)*dim);
  out.set(t.cls_token);
  data.scale.forEach((k, i) => {
    const grid = data.side/data.patches[k], [r, c] = data.cells[i];
    for (let d = 0; d < dim; d++)
      out[(1 + i)*dim + d] = maps[k][(d*grid + r)*grid + c] + position[i*dim + d];
  });
  return out;
};

// Softmax of each row over the tokens that are there, in place.
const softmaxRows = (scores, there) => {
  const n = there.length;
  for (let at = 0; at < scores.length; at += n) {
    let top = -Infinity, sum = 0;
    for (let k = 0; k < n; k++) if (there[k] && scores[at + k] > top) top = scores[at + k];
    for (let k = 0; k < n; k++)
      sum += scores[at + k] = there[k] ? Math.exp(scores[at + k] - top) : 0;
    for (let k = 0; k < n; k++) scores[at + k] /= sum;
  }
  return scores;
};

// Attention over the tokens that are there: (head, query, key), and what it gives.
const attend = (net, name, x, there) => {
  const {t, dim, heads} = net, n = there.length, width = dim/heads, by = width**-.5;
  const qkv = linear(x, t[`${name}.qkv.weight`], null, n, dim, 3*dim);
  const weights = new Float32Array(heads*n*n), read = new Float32Array(n*dim);
  const q = new Float32Array(n*width), k = new Float32Array(n*width), v = new Float32Array(n*width);
  for (let h = 0; h < heads; h++) {
    for (let r = 0; r < n; r++) for (let i = 0, at = 3*r*dim + h*width; i < width; i++, at++) {
      q[r*width + i] = by*qkv[at];
      k[r*width + i] = qkv[at + dim];
      v[i*n + r] = qkv[at + 2*dim];                            // values lie the other way round
    }
    const A = softmaxRows(linear(q, k, null, n, width, n), there),
      o = linear(A, v, null, n, n, width);
    weights.set(A, h*n*n);
    for (let r = 0; r < n; r++) for (let i = 0; i < width; i++)
      read[r*dim + h*width + i] = o[r*width + i];
  }
  return {weights, out: linear(read, t[`${name}.proj.weight`], t[`${name}.proj.bias`], n, dim,
    dim)};
};

const block = (net, k, x, there) => {
  const {t, dim} = net, name = `blocks.${k - 1}`, hidden = t[`${name}.mlp.0.bias`].length;
  const normal = (y, which) =>
    layerNorm(y, t[`${name}.${which}.weight`], t[`${name}.${which}.bias`], dim);
  const {weights, out} = attend(net, `${name}.attn`, normal(x, 'norm1'), there);
  const y = add(out, x), n = there.length;
  const wide = linear(normal(y, 'norm2'), t[`${name}.mlp.0.weight`], t[`${name}.mlp.0.bias`], n,
    dim, hidden);
  const narrow = linear(gelu(wide), t[`${name}.mlp.2.weight`], t[`${name}.mlp.2.bias`], n, hidden,
    dim);
  return {stage: net.stageOf(k), attention: weights, out: add(narrow, y)};
};

// D of one interaction, (region, token, mixed): a softmax over the tokens that are there.
const mixingWeights = (net, i, x, there) => {
  const {t, dim, data} = net, L = net.mixed[i + 1], T = net.mixed[i], n = T*data.regions;
  const name = `interactions.${i}`, p = part =>
    [t[`${name}.${part}.weight`], t[`${name}.${part}.bias`]];
  let y = layerNorm(x.subarray(dim), ...p('norm'), dim);
  y = gelu(linear(y, ...p('mlp.0'), n, dim, 2*dim));
  y = gelu(linear(y, ...p('mlp.2'), n, 2*dim, Math.floor(dim/2)));
  const D = linear(y, ...p('mlp.4'), n, Math.floor(dim/2), L), scale = t[`${name}.scale`][0];
  for (let r = 0; r < data.regions; r++) for (let l = 0; l < L; l++) {
    let top = -Infinity, sum = 0;
    const each = f => { for (let u = r*T; u < (r + 1)*T; u++) f(u*L + l, there[1 + u]); };
    each((at, is) => { D[at] *= scale; if (is && D[at] > top) top = D[at]; });
    each((at, is) => { D[at] = is ? Math.exp(D[at] - top) : 0; sum += D[at]; });
    if (sum) each(at => { D[at] /= sum; });
  }
  return D;
};

const interact = (net, i, x, there) => {
  const {dim, data} = net, T = net.mixed[i], L = net.mixed[i + 1],
    D = mixingWeights(net, i, x, there);
  const out = new Float32Array((1 + L*data.regions)*dim), left = new Uint8Array(1 + L*data.regions);
  out.set(x.subarray(0, dim));
  left[0] = 1;
  for (let r = 0; r < data.regions; r++) for (let u = r*T; u < (r + 1)*T; u++) {
    if (!there[1 + u]) continue;
    for (let l = 0; l < L; l++) {
      const w = D[u*L + l], to = (1 + r*L + l)*dim;
      // a region without tokens has no mixed ones
      left[1 + r*L + l] = 1;
      for (let d = 0; d < dim; d++) out[to + d] += w*x[(1 + u)*dim + d];
    }
  }
  return {D, out, left};
};

const softmax = logits => {
  const top = Math.max(...logits), e = Array.from(logits, v => Math.exp(v - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map(v => v/sum);
};

// Everything between a picture and its answer. `cut` are positions of tokens that are left out.
const forward = (net, pixels, cut = []) => {
  const {t, dim} = net, first = sequence(net, pixels),
    trace = {sequence: first, blocks: [], D: [], mixed: []};
  let x = first, there = new Uint8Array(1 + net.sizes[0]).fill(1);
  for (const i of cut) there[1 + i] = 0;
  trace.there = [there];
  for (let k = 1; k <= net.depth; k++) {
    const i = net.before.indexOf(k);
    if (i >= 0) {
      const {D, out, left} = interact(net, i, x, there);
      trace.D.push(D);
      trace.mixed.push(x = out);
      trace.there.push(there = left);
    }
    const done = block(net, k, x, there);
    trace.blocks.push(done);
    x = done.out;
  }
  const features = layerNorm(x.slice(0, dim), t['norm.weight'], t['norm.bias'], dim);
  trace.logits = linear(features, t['head.weight'], t['head.bias'], 1, dim, t['head.bias'].length);
  trace.answer = softmax(trace.logits);
  return trace;
};

// ---- what is asked of it -----------------------------------------------------------------------

// By mixing alone: how much of each original token of its region is in each token of a stage.
const origins = (net, trace) => {
  if (trace.origins) return trace.origins;
  const {mixed, data} = net, T = mixed[0], out = [null];
  trace.D.forEach((D, i) => {
    const S = mixed[i], L = mixed[i + 1], O = new Float32Array(data.regions*L*T);
    for (let r = 0; r < data.regions; r++) for (let u = 0; u < S; u++) for (let l = 0; l < L; l++) {
      const w = D[(r*S + u)*L + l], to = (r*L + l)*T;
      if (!i) O[to + u] = w;
      else for (let s = 0; s < T; s++) O[to + s] += w*out[i][(r*S + u)*T + s];
    }
    out.push(O);
  });
  return trace.origins = out;
};

// Weights of a later sequence (class token first) followed back to the original tokens.
const followed = (net, trace, stage, w) => {
  if (!stage) return w;
  const T = net.mixed[0], L = net.mixed[stage], O = origins(net, trace)[stage];
  const out = new Float32Array(1 + net.sizes[0]);
  out[0] = w[0];
  for (let m = 0; m < net.sizes[stage]; m++) {
    const first = 1 + Math.floor(m/L)*T;
    if (w[1 + m]) for (let s = 0; s < T; s++) out[first + s] += w[1 + m]*O[m*T + s];
  }
  return out;
};

const attentionRow = (trace, k, head, heads, query) => {
  const A = trace.blocks[k - 1].attention, n = Math.round(Math.sqrt(A.length/heads)),
    row = new Float32Array(n);
  for (let h = 0; h < heads; h++) {
    if (head >= 0 && h != head) continue;
    for (let i = 0; i < n; i++) row[i] += A[(h*n + query)*n + i]/(head < 0 ? heads : 1);
  }
  return row;
};

// Attention rollout: half of each token kept in each block, heads averaged, mixing between.
const rollout = (net, trace, upTo) => {
  trace.rolled ||= [];
  if (trace.rolled[upTo]) return trace.rolled[upTo];
  const wide = 1 + net.sizes[0];
  let P = new Float32Array(wide*wide);
  for (let i = 0; i < wide; i++) P[i*wide + i] = 1;
  for (let k = 1; k <= upTo; k++) {
    const i = net.before.indexOf(k);
    if (i >= 0) P = mixRows(net, trace.D[i], i, P, wide);
    const n = P.length/wide, Q = P.map(v => .5*v);
    for (let q = 0; q < n; q++) {
      const row = attentionRow(trace, k, -1, net.heads, q);
      for (let u = 0; u < n; u++) if (row[u]) for (let s = 0; s < wide; s++)
        Q[q*wide + s] += .5*row[u]*P[u*wide + s];
    }
    P = Q;
  }
  return trace.rolled[upTo] = P;
};

const mixRows = (net, D, i, P, wide) => {
  const S = net.mixed[i], L = net.mixed[i + 1], out = new Float32Array((1 + net.sizes[i + 1])*wide);
  out.set(P.subarray(0, wide));
  for (let u = 0; u < net.sizes[i]; u++) for (let l = 0; l < L; l++) {
    const w = D[u*L + l], to = (1 + Math.floor(u/S)*L + l)*wide;
    if (w) for (let s = 0; s < wide; s++) out[to + s] += w*P[(1 + u)*wide + s];
  }
  return out;
};

// The answer to the question that is chosen, for one token: a weight for every token that has one.
// `stages[s]` holds the class token's weight first, as do `pixels`, the original tokens.
const ask = (net, trace, state, at) => {
  const [stage, i] = at, found = {stages: net.sizes.map(() => null), pixels: null, sum: true};
  if (state.mode == 'kin') askKin(net, found, stage, i);
  else if (state.mode == 'mixing') askMixing(net, trace, found, stage, i);
  else if (state.mode == 'attention') {
    const row = attentionRow(trace, state.block, state.head, net.heads, i + 1),
      s = net.stageOf(state.block);
    found.stages[s] = row;
    found.pixels = followed(net, trace, s, row);
  } else askProvenance(net, trace, found, state, stage, i);
  found.top = Math.max(0, ...found.stages.flatMap(s => s ? Array.from(s) : []));
  found.topPixel = found.pixels ? found.pixels.subarray(1).reduce((a, b) => Math.max(a, b), 0) : 0;
  return found;
};

const askKin = (net, found, stage, i) => {
  const w = found.stages[0] = new Float32Array(1 + net.sizes[0]), T = net.mixed[0];
  found.sum = false;
  if (i < 0) return;
  const region = Math.floor(i/net.mixed[stage]);
  const kin = stage ? Array.from({length: T}, (_, u) => region*T + u) : net.data.linked[i];
  for (const j of kin) w[1 + j] = 1;
  found.pixels = w;
};

const askMixing = (net, trace, found, stage, i) => {
  if (i < 0) return;
  if (stage) {                                                 // what is it made of?
    const S = net.mixed[stage - 1], L = net.mixed[stage], D = trace.D[stage - 1],
      region = Math.floor(i/L);
    const w = found.stages[stage - 1] = new Float32Array(1 + net.sizes[stage - 1]);
    for (let u = region*S; u < (region + 1)*S; u++) w[1 + u] = D[u*L + i % L];
    found.pixels = followed(net, trace, stage - 1, w);
  } else forwards(net, trace, found, stage, i);
};

const forwards = (net, trace, found, stage, i) => {            // where does it go?
  found.sum = false;
  if (stage + 1 >= net.sizes.length) return;
  const S = net.mixed[stage], L = net.mixed[stage + 1], first = Math.floor(i/S)*L;
  const w = found.stages[stage + 1] = new Float32Array(1 + net.sizes[stage + 1]);
  for (let l = 0; l < L; l++) w[1 + first + l] = trace.D[stage][i*L + l];
};

const askProvenance = (net, trace, found, state, stage, i) => {
  const wide = 1 + net.sizes[0], last = net.sizes.length - 1;
  if (state.attention) {
    const P = rollout(net, trace, state.block), s = net.stageOf(state.block), row = i + 1;
    if (s == stage || i < 0) found.pixels = P.slice(row*wide, (row + 1)*wide);
    // an original token: what the later ones have of it
    else if (!stage) {
      found.sum = false;
      found.stages[s] = Float32Array.from({length: 1 + net.sizes[s]}, (_, q) => P[q*wide + 1 + i]);
    }
  } else if (stage && i >= 0) {
    const one = new Float32Array(1 + net.sizes[stage]);
    one[1 + i] = 1;
    found.pixels = followed(net, trace, stage, one);
  } else if (i >= 0) {
    found.sum = false;
    for (let s = 1; s <= last; s++) {
      const T = net.mixed[0], L = net.mixed[s], region = Math.floor(i/T),
        O = origins(net, trace)[s];
      const w = found.stages[s] = new Float32Array(1 + net.sizes[s]);
      for (let l = 0; l < L; l++) w[1 + region*L + l] = O[(region*L + l)*T + i % T];
    }
  }
  if (found.pixels) found.stages[0] = found.pixels;
};

// ---- pictures ----------------------------------------------------------------------------------

const shifted = (data, pixels, [dx, dy]) => {
  const S = data.side;
  if (!dx && !dy) return pixels;
  return pixels.map((_, i) => {
    const x = i % S - dx, y = Math.floor(i/S) % S - dy, c = Math.floor(i/S/S);
    return x < 0 || y < 0 || x >= S || y >= S ? 0 : pixels[(c*S + y)*S + x];
  });
};

// A stroke of the brush from one place to another, in pixels of the picture; soft at its edge.
const stroke = (data, pixels, [x0, y0], [x1, y1], radius, color) => {
  const S = data.side, out = pixels.slice(), length = Math.hypot(x1 - x0, y1 - y0) || 1;
  for (let y = 0; y < S; y++) for (let x = 0; x < S; x++) {
    const px = x + .5 - x0, py = y + .5 - y0;
    const along = Math.min(1, Math.max(0, (px*(x1 - x0) + py*(y1 - y0))/length**2));
    const far = Math.hypot(px - along*(x1 - x0), py - along*(y1 - y0));
    const cover = Math.min(1, Math.max(0, radius + .5 - far));
    if (cover) color.forEach((v, c) => {
      const i = (c*S + y)*S + x;
      out[i] = Math.round(out[i] + (v - out[i])*cover);
    });
  }
  return out;
};

// Keys' cubic kernel, a = -1/2, antialiased, as Pillow and the recipe resize: weights of one axis.
const cubic = t => {
  const u = Math.max(0, 2 - Math.abs(t)), v = Math.max(0, u - 1);
  return -.5*u*u*(1 - u) + v*v*(1 - 2*v);
};
const resizeWeights = (length, size) => Array.from({length: size}, (_, o) => {
  const wide = Math.max(1, length/size), middle = (o + .5)*length/size, row = [];
  const from = Math.max(0, Math.floor(middle - 2*wide)),
    to = Math.min(length, Math.ceil(middle + 2*wide));
  for (let i = from; i < to; i++) row.push([i, cubic((i + .5 - middle)/wide)]);
  const sum = row.reduce((s, [, w]) => s + w, 0);
  return row.map(([i, w]) => [i, w/sum]);
});

// As Python rounds: a half goes to the even number.
const rounded = v => v % 1 == .5 ? 2*Math.round(v/2) : Math.round(v);
const byte = v => Math.round(Math.min(255, Math.max(0, v)));

// Decoded pixels (red, green, blue, alpha) by the model's rule, `PictureRule`: resized to a square
// whatever their shape, or (fit 'middle') the middle of a larger square. Bytes by channel.
const fitted = ({data: rgba, width, height}, size, grey, fit) => {
  const full = fit == 'middle' ? rounded(size*300/256) : size, edge = rounded((full - size)/2);
  const kept = length => resizeWeights(length, full).slice(edge, edge + size);
  const xs = kept(width), ys = kept(height), channels = grey ? 1 : 3;
  const out = new Uint8Array(channels*size*size), rows = new Uint8Array(height*size);
  const value = (p, c) => grey ?
    19595*rgba[p] + 38470*rgba[p + 1] + 7471*rgba[p + 2] + 32768 >> 16 : rgba[p + c];
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) for (let x = 0; x < size; x++) {
      let sum = 0;
      for (const [i, w] of xs[x]) sum += w*value(4*(y*width + i), c);
      rows[y*size + x] = byte(sum);
    }
    for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
      let sum = 0;
      for (const [i, w] of ys[y]) sum += w*rows[i*size + x];
      out[(c*size + y)*size + x] = byte(sum);
    }
  }
  return out;
};

const ACCEPTED = ['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/bmp', 'image/avif'];
const PLEASE = 'give a PNG, JPEG, WebP, GIF, BMP or AVIF file of at most 40 MB';

// A picture file as the model's pixels. Throws a sentence for what is no picture.
const pictureOf = async (data, file) => {
  const name = `“${String(file?.name || 'what was pasted').slice(0, 60)}”`;
  if (!file || !ACCEPTED.includes(file.type))
    throw `${name} is no picture that is taken here: ${PLEASE}.`;
  if (file.size > 40e6) throw `${name} has ${Math.round(file.size/1e6)} MB: ${PLEASE}.`;
  let bitmap;
  // its colours as they are stored, as Python reads them, whatever its profile says
  try { bitmap = await createImageBitmap(file, {colorSpaceConversion: 'none'}); }
  catch { throw `${name} cannot be read as a picture: ${PLEASE}.`; }
  const canvas = make('canvas', {});
  canvas.width = Math.min(1024, bitmap.width);
  canvas.height = Math.min(1024, bitmap.height);
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  pen.imageSmoothingQuality = 'high';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const rgba = pen.getImageData(0, 0, canvas.width, canvas.height);
  return fitted(rgba, data.side, data.config.in_chans == 1, data.fit);
};

// Pixels onto a canvas of the model's own size.
const show = (data, canvas, pixels) => {
  const S = data.side, area = S*S, pen = canvas.getContext('2d');
  canvas.width = canvas.height = S;
  const image = pen.createImageData(S, S), channels = data.config.in_chans;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4*i + c] = pixels[i + (channels == 1 ? 0 : c*area)];
    image.data[4*i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
};

// ---- state -------------------------------------------------------------------------------------

const MODES = ['kin', 'mixing', 'attention', 'provenance'];

// A state that came from outside: every part is looked at, what cannot be is refused by a sentence.
const checked = (net, given) => {
  const {data} = net, wrong = what => { throw `This state does not fit this model: ${what}.`; };
  if (!given || typeof given != 'object' || Array.isArray(given)) wrong('it is no object');
  const whole = (v, low, high, what) => Number.isInteger(v) && v >= low && v <= high ? v :
    wrong(`${what} must be a whole number from ${low} to ${high}`);
  const pair = (v, what) => Array.isArray(v) && v.length == 2 ? v :
    wrong(`${what} must be two numbers`);
  const state = {...first(net), ...given}, S = data.side, [stage, i] = pair(state.token, 'token');
  const out = {mode: MODES.includes(state.mode) ? state.mode :
    wrong(`mode must be one of ${MODES.join(', ')}`)};
  if (typeof state.picture == 'string') {
    let bytes;
    try { bytes = bytesOf(state.picture); } catch { wrong('picture is no base64 text'); }
    const size = data.config.in_chans*S*S;
    if (bytes.length != size) wrong(`picture must have ${size} bytes`);
    out.picture = state.picture;
  } else out.picture = whole(state.picture, 0, data.samples.length - 1, 'picture');
  out.shift = pair(state.shift, 'shift').map(v => whole(v, -S, S, 'shift'));
  whole(stage, 0, net.sizes.length - 1, 'the stage of token');
  out.token = [stage, whole(i, -1, net.sizes[stage] - 1, 'the place of token')];
  out.block = whole(state.block, 1, net.depth, 'block');
  out.head = whole(state.head, -1, net.heads - 1, 'head');
  out.attention = Boolean(state.attention);
  if (!Array.isArray(state.cut)) wrong('cut must be a list');
  out.cut = [...new Set(state.cut.map(v => whole(v, 0, net.sizes[0] - 1, 'cut')))].sort((a, b) =>
    a - b);
  out.step = whole(state.step, 0, 6, 'step');
  return settled(net, out);
};

const first = net =>
  ({picture: net.data.start, shift: [0, 0], mode: 'kin', token: [0, net.data.at], block: 1,
  head: -1, attention: false, cut: [], step: 0});

// Token, block and question go together: a block is asked by a token of its own sequence.
const settled = (net, state, changed = 'block') => {
  const [stage, i] = state.token, last = net.sizes.length - 1;
  if (state.mode == 'mixing' && !last) state.mode = 'attention';
  if (state.mode == 'mixing' && i < 0) state.token = [1, 0];
  if (state.mode == 'provenance' && (i < 0 || !last)) state.attention = true;
  const tied = state.mode == 'attention' || state.mode == 'provenance' && state.attention;
  const free = state.mode == 'provenance' && !stage && i >= 0 && net.stageOf(state.block);
  if (tied && !free && net.stageOf(state.block) != stage) {
    if (changed == 'block' || i < 0) state.token = [net.stageOf(state.block), i < 0 ? i : -1];
    else {
      const fits = Array.from({length: net.depth}, (_, k) => k + 1).filter(k =>
        net.stageOf(k) == stage);
      state.block = state.mode == 'provenance' ? fits[fits.length - 1] : fits[0];
    }
  }
  return state;
};

// ---- words -------------------------------------------------------------------------------------

const QUESTIONS = {
  kin: 'Which tokens of other sizes see the same pixels? Geometry, no model.',
  mixing: 'What does an interaction make a mixed token from? Choose a mixed token, ' +
    'or an earlier one to see where it goes.',
  attention: 'From which tokens does the chosen one read, in this block? ' +
    'Mixed tokens are followed back to the pixels by their mixing.',
  provenance: 'How much of each original token is in a later one? All mixing multiplied; ' +
    'with attention, half of each token is kept in each block (rollout). ' +
    'Where weights flow, not why it answers.'};

const plural = (n, what) => `${n} ${what}${n == 1 ? '' : 's'}`;

const nameOf = (net, [stage, i], short) => {
  if (i < 0) return short ? 'class token' : 'the class token';
  if (!stage) return short ? where(net.data, i) : `token ${i}, the ${where(net.data, i)}`;
  const L = net.mixed[stage], after = stage > 1 && !short ? ` (after interaction ${stage})` : '';
  return `mixed token ${i % L} of region ${Math.floor(i/L)}${after}`;
};

const upper = text => text[0].toUpperCase() + text.slice(1);

const sharesOf = (net, w) => net.data.patches.map((_, k) =>
  net.data.scale.reduce((sum, s, i) => s == k ? sum + w[1 + i] : sum, 0));

// The sentence below the panels: what is lit, with numbers.
const sentence = (net, trace, state, at, found) => {
  const [stage, i] = at, placed = stage == 0 && i >= 0, name = upper(nameOf(net, at));
  if (i >= 0 && !trace.there[stage][1 + i])
    return placed ? `${name}, is cut out: the model has not read it.` :
      `${name} is not there: all it would be made of is cut out.`;
  if (state.mode == 'kin') return sayKinOf(net, at, found, name);
  const subject = name + (placed ? ',' : '');
  if (!found.sum || !found.pixels) return sayForwards(net, found, subject);
  const text = percents([...sharesOf(net, found.pixels), found.pixels[0]]);
  const by = net.data.patches.map((p, k) => `${text[k]} from ${p} px`).join(', ');
  const rest = found.pixels[0] > 0 ? `, ${text[text.length - 1]} from the class token` : '';
  const verb = state.mode == 'attention' ? `reads in block ${state.block}` : 'is made of';
  const n = perplexity(Array.from(found.stages.find(Boolean))).toFixed(1);
  return `${subject} ${verb}: ${by}${rest}. That averages ${n} tokens, in effect.`;
};

const sayKinOf = (net, [stage, i], found, name) => {
  if (i < 0) return 'The class token sees no pixels of its own: it has no kin.';
  if (stage)
    return `${name} has no place of its own: ${net.mixed[0]} tokens of its region are in it.`;
  const lit = new Map(net.data.linked[i].map(j => [j, 1]));
  const by = count(net.data, lit).filter(([, n]) => n).map(([p, n]) => `${n} of ${p} px`);
  const sizes = by.length ? ` (${by.join(', ')})` : '';
  return `${name}, in region ${net.data.region[i]}. Kin: ${lit.size}${sizes}.`;
};

const sayForwards = (net, found, subject) => {
  const s = found.stages.reduce((last, w, k) => w ? k : last, -1);
  if (s < 0) return `${subject} goes no further here.`;
  const w = found.stages[s], best = w.indexOf(w.reduce((a, b) => Math.max(a, b), -1));
  const target = nameOf(net, [s, best - 1]);
  return `${subject} goes on: most of all into ${target}, which has ${percent(w[best])} of it.`;
};

// ---- the page ----------------------------------------------------------------------------------

const button = (parent, text, name, title) => {
  const e = make('button', {type: 'button', 'data-do': name}, parent, text);
  if (title) e.title = title;
  return e;
};

const section = (parent, name, heading) => {
  const e = make('section', {class: name, 'aria-label': heading}, parent);
  make('h3', {}, e, heading);
  return e;
};

const buildHead = (view, card) => {
  const {net, data} = view, head = make('header', {}, card), said = make('div', {}, head);
  make('h2', {}, said, data.title);
  const shrinks = net.sizes.map(n => n + 1).join(' → ');
  make('p', {class: 'sub'}, said,
    `${shrinks} tokens, ${data.parameters.toLocaleString('en')} weights. ` +
    'It runs in this page; your picture stays here.');
  const bar = make('nav', {'aria-label': 'explorer'}, head);
  button(bar, 'Take the tour', 'tour');
  button(bar, 'Save or load', 'keep');
  button(bar, 'Start again', 'reset');
};

const buildTour = (view, card) => {
  const e = view.tour = make('section', {class: 'tour', 'aria-label': 'tour', hidden: ''}, card);
  const said = make('div', {class: 'text', 'aria-live': 'polite'}, e);
  make('b', {class: 'title', tabindex: -1}, said);
  make('p', {}, said);
  const bar = make('div', {class: 'steps'}, e);
  make('span', {class: 'dots', 'aria-hidden': true}, bar);
  button(bar, 'This step again', 'again');
  button(bar, 'Back', 'back');
  button(bar, 'Next', 'next');
  button(bar, 'End', 'end');
};

const buildKeep = (view, card) => {
  const e = view.keep = make('section', {class: 'keep', 'aria-label': 'save or load', hidden: ''},
    card);
  const picture = make('div', {}, e), state = make('div', {}, e);
  make('h3', {}, picture, 'This view as a picture');
  make('img', {alt: 'this view as a picture'}, picture);
  const bar = make('div', {class: 'row'}, picture);
  make('a', {download: 'dems-explorer.png', class: 'png'}, bar, 'PNG');
  make('a', {download: 'dems-explorer.svg', class: 'svg'}, bar, 'SVG');
  make('small', {}, picture,
    'Where a frame forbids downloads, save the picture above by its menu.');
  make('h3', {}, state, 'This view as text');
  make('textarea', {rows: 5, spellcheck: false, 'aria-label': 'state as JSON'}, state);
  const row = make('div', {class: 'row'}, state);
  button(row, 'Load this text', 'load');
  make('a', {class: 'link', href: '#'}, row, 'Link to this view');
  make('small', {}, state,
    'The text, and the link, hold the picture, the chosen token and what is cut out.');
};

const buildInput = (view, parent) => {
  const {data} = view, e = section(parent, 'input', 'Picture');
  const easel = view.easel = make('div', {class: 'easel'}, e);
  view.canvas = make('canvas', {tabindex: 0, role: 'img', 'aria-label':
    'the picture: draw with the pointer, shift it with the arrow keys, drop or paste a file'},
      easel);
  view.box = make('i', {class: 'box', 'aria-hidden': true}, easel);
  view.best = make('p', {class: 'best', 'aria-live': 'polite'}, e);
  const tools = make('div', {class: 'tools row', role: 'group', 'aria-label': 'drawing'}, e);
  for (const [text, name] of [['Draw', 'draw'], ['Erase', 'erase']]) button(tools, text, name);
  for (const [text, name] of [['Undo', 'undo'], ['Clear', 'clear'],
    ['Invert', 'invert']]) button(tools, text, name);
  const size = make('label', {class: 'thick'}, tools, 'thickness ');
  view.thick = make('input', {type: 'range', min: 1, max: 5, value: 2, step: .5}, size);
  if (data.config.in_chans == 3) {
    const color = make('label', {}, tools, 'colour ');
    view.color = make('input', {type: 'color', value: '#ffffff'}, color);
  }
  const move = make('div', {class: 'row move', role: 'group', 'aria-label': 'shift by a pixel'}, e);
  make('span', {}, move, 'shift');
  for (const [text, key, name] of [['←', 'ArrowLeft', 'left'], ['→', 'ArrowRight', 'right'],
    ['↑', 'ArrowUp', 'up'],
    ['↓', 'ArrowDown', 'down']]) {
    const b = button(move, text, 'shift');
    b.dataset.key = key;
    b.setAttribute('aria-label', `shift ${name} by a pixel`);
  }
  view.moved = make('span', {class: 'moved'}, move);
  const samples = make('div',
    {class: 'samples', role: 'group', 'aria-label': 'pictures to choose from'}, e);
  view.samples = data.samples.map((text, i) => {
    const name = data.labels[i] === null ? `picture ${i}` : data.classes[data.labels[i]];
    const b = make('button',
      {type: 'button', 'data-do': 'sample', 'data-n': i, title: name, 'aria-label': name}, samples);
    show(data, make('canvas', {'aria-hidden': true}, b), bytesOf(text));
    return b;
  });
  const file = make('label', {class: 'file'}, e);
  make('span', {}, file, 'Drop or paste a picture, or choose a file');
  view.file = make('input', {type: 'file', accept: ACCEPTED.join(',')}, file);
  view.problem = make('p', {class: 'problem', role: 'alert'}, e);
};

const buildAnswer = (view, parent) => {
  const e = section(parent, 'answer', 'Answer'), {classes} = view.data;
  view.bars = make('ul', {}, e);
  view.rows = Array.from({length: Math.min(classes.length, 12)}, () => {
    const li = make('li', {}, view.bars), name = make('span', {class: 'name'}, li);
    const track = make('span', {class: 'track', 'aria-hidden': true}, li);
    return {li, name, fill: make('i', {}, track), was: make('u', {}, track),
      value: make('span', {class: 'value'}, li)};
  });
  view.note = make('p', {class: 'note'}, e);
};

const buildAsk = (view, parent) => {
  const {net} = view, e = section(parent, 'ask', 'Question'), bar = make('div', {class: 'row'}, e);
  const group = make('div', {class: 'modes', role: 'radiogroup', 'aria-label': 'question'}, bar);
  for (const mode of MODES) {
    if (mode == 'mixing' && net.sizes.length < 2) continue;
    const label = make('label', {title: QUESTIONS[mode]}, group);
    make('input', {type: 'radio', name: 'mode', value: mode}, label);
    make('span', {}, label, upper(mode));
  }
  const more = view.more = make('div', {class: 'row more'}, bar);
  const select = (name, options) => {
    const label = make('label', {'data-for': name}, more, `${name} `),
      s = make('select', {name}, label);
    for (const [value, text] of options) make('option', {value}, s, text);
    return s;
  };
  view.block = select('block', Array.from({length: net.depth}, (_, k) => [k + 1, k + 1]));
  view.head = select('head',
    [[-1, 'mean of all'], ...Array.from({length: net.heads}, (_, h) => [h, h + 1])]);
  const with_ = make('label', {'data-for': 'attention'}, more);
  view.through = make('input', {type: 'checkbox', name: 'attention'}, with_);
  make('span', {}, with_, ' follow attention too');
  view.words = make('p', {class: 'words'}, e);
};

const buildPanels = (view, parent) => {
  const {data} = view,
    e = make('section', {class: 'scales', 'aria-label': 'the picture at each scale'}, parent);
  view.svgs = panels(data,
    make('div', {class: 'panels', style: `--n: ${Math.min(4, data.patches.length)}`}, e));
  view.backs = view.svgs.map(svg => {
    svg.querySelector('image').remove();
    const frame = make('div', {class: 'frame'}, null),
      canvas = make('canvas', {'aria-hidden': true}, frame);
    svg.before(frame);
    frame.append(svg);
    frame.style.borderColor = svg.style.borderColor;
    return canvas;
  });
  const legend = make('div', {class: 'legend'}, e);
  view.scaleOf = make('span', {class: 'ramp'}, legend);
  make('i', {}, view.scaleOf);
  view.full = make('span', {}, view.scaleOf);
  const key = make('span', {class: 'key'}, legend);
  make('i', {class: 'chosen'}, key);
  make('span', {}, key, 'chosen');
  const cut = make('span', {class: 'key'}, legend);
  make('i', {class: 'gone'}, cut);
  make('span', {}, cut, 'cut out');
  view.said = make('p', {class: 'said', role: 'status', 'aria-live': 'polite'}, e);
  const row = view.cuts = make('div',
    {class: 'row cuts', role: 'group', 'aria-label': 'cut tokens out'}, e);
  button(row, 'Cut it out', 'cut', 'the model answers as if it had never read this token (key: x)');
  button(row, 'Cut it and its kin', 'cut-kin', 'all tokens that see these pixels');
  button(row, 'Cut the 10 most lit', 'cut-lit', 'the original tokens with the largest weights');
  button(row, 'Put all back', 'back-in');
};

// What a row of the sequence is. A plain ViT has a token a region, so a row is one of the picture.
const rowOf = net => net.mixed[0] > 1 ? 'a region' : 'a row of patches';

// A stage of the sequence: the class token, then a row a region; cells as wide in every stage.
const buildStage = (view, parent, stage) => {
  const {net, data} = view, n = net.sizes[stage], T = net.mixed[stage],
    wide = Math.max(...net.mixed, 4);
  const per = T >= 4 || stage ? T : Math.max(T, Math.round(Math.sqrt(data.regions))*T);
  const unit = per > 30 ? 8 : 14, tall = n/per > 16 ? 8 : 14, gap = 6, rows = Math.ceil(n/per);
  const enters = stage ? net.before[stage - 1] : 1;
  const e = make('div', {class: 'stage'}, parent);
  make('h4', {}, e, `${n + 1} enter block ${enters}`);
  const svg = make('svg',
    {class: 'strip', role: 'group',
    viewBox: `0 0 ${(Math.max(per, wide) + 1)*unit + gap} ${rows*tall}`,
    'data-per': per,
    'aria-label': `sequence of ${n + 1} tokens: class token; each row is ${rowOf(net)}`},
      e);
  const kind = stage ? `mixed${stage}` : 'token';
  cell(svg, kind, -1, 1, 1, unit - 2, tall - 2, 'var(--ink)', 'class token').classList.add('class');
  for (let i = 0; i < n; i++) {
    const x = unit + gap + i % per*unit, y = Math.floor(i/per)*tall;
    const fill = stage ? 'var(--ink)' : data.colors[data.scale[i]];
    cell(svg, kind, i, x, y + 1, unit, tall - 2, fill, nameOf(net, [stage, i], true));
  }
  return svg;
};

const buildSequence = (view, parent) => {
  const e = section(parent, 'sequence', 'The sequence as it shrinks');
  view.strips = view.net.sizes.map((_, stage) => buildStage(view, e, stage));
  make('p', {class: 'note'}, e,
    `The square on the left is the class token; each row is ${rowOf(view.net)}` +
    (view.net.mixed[0] > 1 ? ', fine to coarse.' : '.'));
};

// D of each interaction, for the region of the chosen token.
const buildMatrices = (view, parent) => {
  const {net, data} = view;
  view.matrices = [];
  if (net.sizes.length < 2) return;
  const e = section(parent, 'matrices', 'D, region by region'),
    row = make('div', {class: 'pair'}, e);
  view.matrixTitle = e.querySelector('h3');
  net.before.forEach((k, i) => {
    const T = net.mixed[i], L = net.mixed[i + 1], figure = make('figure', {}, row);
    figure.style.flexGrow = L;
    const caption = make('figcaption', {}, figure), frame = make('div', {class: 'frame'}, figure);
    frame.style.height = `${Math.min(12*T, 270)}px`;
    const canvas = make('canvas', {'aria-hidden': true, style: `width: ${100*L/(L + 1)}%`}, frame);
    const svg = make('svg',
      {viewBox: `-1 0 ${L + 1} ${T}`, preserveAspectRatio: 'none', role: 'group',
      'data-per': L, 'aria-label': `${T} sources mixed into ${L} tokens, a column each`}, frame);
    for (let u = 0; u < T; u++) make('rect',
      {x: -.8, y: u + .06, width: .6, height: .88, class: 'source',
      fill: i ? 'var(--line)' : data.colors[data.scale[u]]}, svg);
    for (let l = 0; l < L; l++) cell(svg, `mixed${i + 1}`, l, l, 0, 1, T, 'transparent',
      `column ${l}`);
    view.matrices.push({caption, canvas, svg, T, L});
  });
  make('p', {class: 'note'}, e,
    'Each column is one mixed token and sums to 100 %; rows are what it is mixed from.');
};

// ---- painting ----------------------------------------------------------------------------------

const paintPicture = view => {
  const {data, pixels} = view;
  for (const canvas of [view.canvas, ...view.backs]) show(data, canvas, pixels);
  view.samples.forEach((b, i) => b.setAttribute('aria-pressed', view.state.picture === i));
  const [dx, dy] = view.state.shift;
  view.moved.textContent = dx || dy ? `${dx}, ${dy}` : '';
};

const paintAnswer = view => {
  const {trace, before, data, rows} = view, {answer} = trace, many = answer.length > rows.length;
  const order = answer.map((_, i) => i);
  if (many) order.sort((a, b) => answer[b] - answer[a]);
  const best = answer.indexOf(Math.max(...answer)), changed = before != trace;
  rows.forEach((row, r) => {
    const i = order[r], p = answer[i];
    row.name.textContent = row.name.title = data.classes[i];
    row.fill.style.transform = `scaleX(${p})`;
    row.was.style.left = `${100*before.answer[i]}%`;
    row.was.hidden = !changed;
    row.value.textContent = percent(p);
    row.li.classList.toggle('top', i == best);
    row.li.dataset.p = p;
  });
  view.best.textContent = `${data.classes[best]}, ${percent(answer[best])}`;
  const others = many ? ` The ${rows.length} likeliest of ${answer.length}.` : '';
  const was = changed ? `The marks: before ${view.state.cut.length ? 'the cut' : 'the shift'}.` :
    '';
  const ms = Math.max(1, Math.round(view.ms));
  view.note.textContent = `${was}${others} Answered in ${ms} ms.`.trim();
};

const frameOf = (svg, rect) => {
  const attributes = ['x', 'y', 'width', 'height'];
  for (const name of ['frame outer', 'frame inner']) {
    const e = svg.querySelector(`.${name.split(' ')[1]}`) || make('rect', {class: name}, svg);
    e.toggleAttribute('hidden', !rect);
    if (rect) for (const a of attributes) e.setAttribute(a, rect.getAttribute(a));
  }
};

const crosses = (svg, rects) => {
  const e = svg.querySelector('path.gone') || make('path', {class: 'gone'}, svg);
  e.setAttribute('d', rects.map(rect => {
    const [x, y, w, h] = ['x', 'y', 'width', 'height'].map(a => +rect.getAttribute(a));
    return `M${x} ${y}l${w} ${h}M${x + w} ${y}l${-w} ${h}`;
  }).join(''));
};

// All rectangles of one drawing: how full, which is chosen, which are gone.
const paintCells = (view, svg, stage, weights, top, [atStage, at]) => {
  const there = view.trace.there[stage], panel = svg.classList.contains('panel'), gone = [];
  let chosen = null, focus = null;
  for (const rect of view.cells.get(svg)) {
    const i = +rect.dataset.i, w = weights ? weights[1 + i] : 0, here = atStage == stage && at == i;
    const level = top > 0 ? w/top : 0, kept = there[1 + i];
    rect.setAttribute('fill-opacity', panel ? .78*level : .1 + .9*level);
    if (w > 0) rect.dataset.w = w; else delete rect.dataset.w;
    rect.setAttribute('aria-pressed', here);
    rect.setAttribute('tabindex', -1);
    if (here) chosen = rect;
    if (w > 0 && !focus) focus = rect;
    if (!kept) gone.push(rect);
  }
  crosses(svg, gone);
  frameOf(svg, chosen);
  (chosen || focus || view.cells.get(svg)[0]).setAttribute('tabindex', 0);
};

const paintMatrices = (view, [stage, i]) => {
  const {net, trace} = view, region = i < 0 ? view.region : Math.floor(i/net.mixed[stage]);
  view.region = region;
  if (view.matrixTitle) view.matrixTitle.textContent = `D of region ${region}`;
  view.matrices.forEach(({caption, canvas, svg, T, L}, n) => {
    const D = trace.D[n].subarray(region*T*L, (region + 1)*T*L),
      top = D.reduce((a, b) => Math.max(a, b), 0);
    const ink = view.host.dataset.theme == 'dark' ? [236, 236, 240] : [27, 27, 31];
    canvas.width = L;
    canvas.height = T;
    const pen = canvas.getContext('2d'), image = pen.createImageData(L, T);
    D.forEach((w, j) => image.data.set([...ink, Math.round(255*w/(top || 1))], 4*j));
    pen.putImageData(image, 0, 0);
    caption.textContent = `before block ${net.before[n]}; darkest ${percent(top)}`;
    const cells = view.cells.get(svg), mine = stage == n + 1 && i >= 0 ? cells[i % L] : null;
    cells.forEach((rect, l) => {
      rect.dataset.real = region*L + l;
      rect.setAttribute('aria-pressed', rect == mine);
      rect.setAttribute('tabindex', rect == (mine || cells[0]) ? 0 : -1);
    });
    frameOf(svg, mine);
  });
};

const paintLegend = (view, found) => {
  const kin = view.state.mode == 'kin', top = found.pixels ? found.topPixel : found.top;
  const lit = found.pixels || found.stages.some(Boolean);
  view.full.textContent = kin ? 'coloured: sees the same pixels' : lit ?
    `0 to ${percent(top)}, the largest weight of one token` : 'nothing is lit';
  view.scaleOf.classList.toggle('flat', kin);
  const shares = found.pixels && !kin && found.sum ?
    percents([...sharesOf(view.net, found.pixels), found.pixels[0]]) : null;
  view.svgs.forEach((svg, k) => {
    const e = svg.closest('figure').querySelector('.share'),
      n = view.data.scale.filter(s => s == k).length;
    const own = kin ? sharesOf(view.net, found.stages[0])[k] : 0;
    e.textContent = shares ? shares[k] : kin && own ? `${own} of ${n}` : plural(n, 'token');
  });
};

const paintAsk = view => {
  const {state, net} = view, tied = state.mode == 'attention' || state.mode == 'provenance' &&
    state.attention;
  for (const e of view.root.querySelectorAll('input[name=mode]')) e.checked = e.value == state.mode;
  view.block.value = state.block;
  view.head.value = state.head;
  view.through.checked = state.attention;
  view.through.disabled = state.token[1] < 0 || net.sizes.length < 2;
  const on = {block: tied, head: state.mode == 'attention', attention: state.mode == 'provenance'};
  for (const e of view.more.children) e.hidden = !on[e.dataset.for];
  view.words.textContent = QUESTIONS[state.mode];
};

const paint = view => {
  const {net, trace, state, data} = view, at = view.hover || state.token,
    found = ask(net, trace, state, at);
  view.found = found;
  for (const svg of view.svgs) paintCells(view, svg, 0, found.pixels, found.topPixel, at);
  const top = Math.max(found.top, 1e-9);
  view.strips.forEach((svg, s) => paintCells(view, svg, s, found.stages[s], top, at));
  paintMatrices(view, at);
  paintLegend(view, found);
  const said = sentence(net, trace, state, at, found);
  if (view.said.textContent != said) view.said.textContent = said;
  const [x0, y0, x1, y1] = at[0] || at[1] < 0 ? [0, 0, 0, 0] :
    data.boxes[at[1]].map(v => 100*v/data.side);
  Object.assign(view.box.style,
    {left: `${x0}%`, top: `${y0}%`, width: `${x1 - x0}%`, height: `${y1 - y0}%`});
  view.box.hidden = x1 == x0;
  paintCuts(view);
  paintTour(view);
};

const paintCuts = view => {
  const {state, found, net} = view, [stage, i] = state.token, on = name =>
    view.cuts.querySelector(`[data-do=${name}]`);
  const original = stage == 0 && i >= 0, gone = original && state.cut.includes(i);
  on('cut').textContent = gone ? 'Put it back' : 'Cut it out';
  on('cut').disabled = on('cut-kin').disabled = !original;
  on('cut-kin').hidden = net.data.patches.length < 2;
  on('cut-lit').disabled = !found.pixels || !found.topPixel;
  on('back-in').disabled = !state.cut.length;
  on('back-in').textContent = state.cut.length ? `Put all ${state.cut.length} back` :
    'Put all back';
};

// ---- the tour ----------------------------------------------------------------------------------

// The later token of a region that chooses most, and the original tokens with the largest weights.
const peaked = (net, trace, stage, region) => {
  const L = net.mixed[stage], T = net.mixed[0], O = origins(net, trace)[stage];
  const n = Array.from({length: L}, (_, l) => {
    const at = (region*L + l)*T;
    return perplexity(Array.from(O.subarray(at, at + T)));
  });
  return [stage, region*L + n.indexOf(Math.min(...n))];
};
const largest = (pixels, n, among = () => true) => Array.from(pixels.subarray(1), (w, i) => [w, i])
  .filter(([w, i]) => w > 0 && among(i)).sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0,
    n).map(([, i]) => i);

// Title, text and state of each step. The texts are of the tour's own picture and tokens, worked
// out once: what the reader does to the page does not change them.
const tourSteps = view => {
  const {net, data} = view, region = data.regions - 1, last = net.sizes.length - 1;
  const several = data.patches.length > 1, pixels = bytesOf(data.samples[data.start]);
  const whole = forward(net, pixels);
  const rolled = rollout(net, whole, net.depth).slice(0, 1 + net.sizes[0]);
  const named = largest(rolled, 10, i => data.scale[i] == 0).sort((a, b) => a - b),
    best = whole.answer.indexOf(Math.max(...whole.answer));
  const steps = [...cuttingSteps(net, region, several),
    ...last ? mixingSteps(net, whole, region) : readingSteps(net, region)];
  const rolledOut = {mode: 'provenance', attention: true, block: net.depth, token: [last, -1]};
  const kept = percent(forward(net, pixels, named).answer[best]);
  steps.push(
    ['What the class token has read', rolledOut,
      'Only the class token answers. Rollout follows attention through all blocks, half of each ' +
      'token kept in each. It says where weights flow. It does not say why the model answers.'],
    ['Cut them out', {...rolledOut, cut: named},
      `So ask in another way: the ${named.length} ${several ? 'finest ' : ''}patches that ` +
      'rollout names first are cut out, and the model has never read them. ' +
      `${data.classes[best]} goes from ${percent(whole.answer[best])} to ${kept}` +
      (several ? '; larger patches still see those pixels. ' : '. ') +
      'Now draw something, and cut where you would.']);
  return steps.map(([title, change, text], i) =>
    ({title, text, state: settled(net, {...first(net), ...change, step: i + 1})}));
};

const cuttingSteps = (net, region, several) => {
  const {data} = net, T = net.mixed[0], many = k => data.scale.filter(s => s == k).length;
  const patches = data.patches.map((p, k) => `${many(k)} patches of ${p} pixels`).join(', ');
  return [
    [several ? 'One picture, cut at every scale' : 'One picture, cut',
      {token: [0, (region + 1)*T - 1]},
      `The picture is cut into ${patches}: ${net.sizes[0]} tokens. The one framed at first is a ` +
      `single ${data.patches[data.patches.length - 1]}-pixel token: ${data.subject}. ` +
      (several ? 'Its kin, lit with it, are the tokens of other sizes that see the same pixels.' :
      'There are no patches of other sizes, so it has no kin.')],
    ['One row', {token: [0, region*T]},
      'The model reads no grids, it reads a row: the class token, then ' +
      (several ? 'region by region, in each from fine to coarse. ' : 'patch by patch. ') +
      `The patch framed at first stands at position ${region*T}` +
      (several ? '; all its kin are in the same row, behind it.' : '.')]];
};

const mixingSteps = (net, whole, region) => {
  const T = net.mixed[0], last = net.sizes.length - 1, token = peaked(net, whole, 1, region);
  const {topPixel} = ask(net, whole, {mode: 'mixing'}, token);
  return [
    [`${T} become ${net.mixed[1]}`, {mode: 'mixing', token},
      `Before block ${net.before[0]} an interaction makes ${net.mixed[1]} tokens ` +
      `from the ${T} of each region, each a weighted average. Of the one framed at first the ` +
      `largest weight is ${percent(topPixel)}; an average that does not choose would give ` +
      `every token ${percent(1/T)}.`],
    ['Followed back to the pixels',
      {mode: 'provenance', token: peaked(net, whole, last, region)},
      (last > 1 ? `Before block ${net.before[last - 1]} averages are averaged again. ` : '') +
      'Weights multiply, so a mixed token can be followed back through all of them: ' +
      'lit at first is what one of them was made from in the beginning.']];
};

const readingSteps = (net, region) => {
  const token = [0, region*net.mixed[0]];
  return [
    ['What a patch reads', {mode: 'attention', token, block: 1},
      'In a block every token reads from all others. ' +
      'Lit at first is what the framed patch reads in block 1.'],
    ['And later', {mode: 'attention', token, block: net.depth},
      `At first the same patch in the last block, number ${net.depth}.`]];
};

const LEFT = 'The picture, or what is cut out of it, is no longer the tour’s own, and of that ' +
  'this step spoke. Look around as you like: “This step again” brings both back.';

const paintTour = view => {
  const {state, tour} = view, {step} = state;
  tour.hidden = !step;
  if (!step) return;
  view.steps ||= tourSteps(view);
  const {title, text, state: own} = view.steps[step - 1], say = (e, text) =>
    { if (e.textContent != text) e.textContent = text; };
  const other = name => String(state[name]) != String(own[name]);
  say(tour.querySelector('.title'), `${step} of 6: ${title}`);
  say(tour.querySelector('p'), ['picture', 'shift', 'cut'].some(other) ? LEFT : text);
  tour.querySelector('.dots').textContent = view.steps.map((_, i) => i < step ? '●' :
    '○').join(' ');
  tour.querySelector('[data-do=again]').hidden = !Object.keys(own).some(other);
  tour.querySelector('[data-do=back]').disabled = step == 1;
  tour.querySelector('[data-do=next]').hidden = step == 6;
};

// ---- living ------------------------------------------------------------------------------------

const basePixels = view => typeof view.state.picture == 'string' ? bytesOf(view.state.picture) :
  bytesOf(view.data.samples[view.state.picture]);

// A new picture, a shift or a cut: ask the model again, at the next frame.
const think = view => {
  const {net, state} = view, base = basePixels(view);
  view.pixels = shifted(view.data, base, state.shift);
  const begun = performance.now();
  view.trace = forward(net, view.pixels, state.cut);
  view.ms = performance.now() - begun;
  view.before = view.trace;
  if (state.cut.length || state.shift.some(Boolean)) {
    if (view.knownFor != state.picture) view.known = forward(net, base);
    view.knownFor = state.picture;
    view.before = view.known;
  }
};

const redraw = view => {
  think(view);
  paintPicture(view);
  paintAnswer(view);
  paintAsk(view);
  paint(view);
};

const soon = view => {
  if (view.waiting) return;
  view.waiting = true;
  const go = () => { view.waiting = false; redraw(view); };
  if (view.ms > 100 && view.pen) setTimeout(go, 250);
  else requestAnimationFrame(go);
};
const now = view => { if (view.waiting) redraw(view); };

const apply = (view, change, changed) => {
  const old = view.state;
  view.state = settled(view.net, {...old, ...change}, changed);
  view.hover = null;
  const {picture, shift, cut} = view.state;
  if (picture !== old.picture || String(shift) != String(old.shift) ||
    String(cut) != String(old.cut)) soon(view);
  else if (!view.waiting) {
    paintAsk(view);
    paint(view);
  }
  if (!view.keep.hidden) keepNow(view);
};

const remember = view => {
  const {picture, shift} = view.state;
  view.undo.push({picture, shift});
  if (view.undo.length > 60) view.undo.shift();
};

const setPixels = (view, pixels) => apply(view, {picture: textOf(pixels), shift: [0, 0]});

const move = (view, key) => {
  const [dx, dy] = ARROWS[key], {shift: [x, y]} = view.state, S = view.data.side;
  const within = v => Math.min(S, Math.max(-S, v));
  remember(view);
  apply(view, {shift: [within(x + dx), within(y + dy)]});
};

const cutToggle = (view, list) => {
  const gone = new Set(view.state.cut), all = list.every(i => gone.has(i));
  for (const i of list) if (all) gone.delete(i); else gone.add(i);
  apply(view, {cut: [...gone].sort((a, b) => a - b)});
};

const DO = {
  tour: view => apply(view, tourState(view, 1)),
  next: view => apply(view, tourState(view, view.state.step + 1)),
  again: view => apply(view, tourState(view, view.state.step)),
  back: view => apply(view, tourState(view, view.state.step - 1)),
  end: view => apply(view, {step: 0}),
  reset: view => { view.problem.textContent = ''; apply(view, first(view.net)); },
  keep: view => { view.keep.hidden = !view.keep.hidden; if (!view.keep.hidden) keepNow(view); },
  load: view => {
    const said = attempt(view, () =>
      checked(view.net, JSON.parse(view.keep.querySelector('textarea').value)));
    if (said) apply(view, said);
  },
  draw: view => { view.erasing = false; tools(view); },
  erase: view => { view.erasing = true; tools(view); },
  undo: view => { const was = view.undo.pop(); if (was) apply(view, was); },
  clear: view => { remember(view); setPixels(view, new Uint8Array(view.pixels.length)); },
  invert: view => { now(view); remember(view); setPixels(view, view.pixels.map(v => 255 - v)); },
  shift: (view, e) => move(view, e.dataset.key),
  sample: (view, e) => { remember(view); apply(view, {picture: +e.dataset.n, shift: [0, 0]}); },
  cut: view => cutToggle(view, [view.state.token[1]]),
  'cut-kin': view => { const i = view.state.token[1]; cutToggle(view,
    [i, ...view.data.linked[i]]); },
  'cut-lit': view => {
    const {found, state} = view, gone = new Set(state.cut);
    const list = found.pixels ? largest(found.pixels, 10, i => !gone.has(i)) : [];
    apply(view, {cut: [...state.cut, ...list].sort((a, b) => a - b)});
  },
  'back-in': view => apply(view, {cut: []})};

const tourState = (view, n) => {
  view.steps ||= tourSteps(view);
  return view.steps[Math.min(6, Math.max(1, n)) - 1].state;
};

const tools = view => {
  for (const [name, on] of [['draw', !view.erasing], ['erase', view.erasing]])
    view.root.querySelector(`[data-do=${name}]`).setAttribute('aria-pressed', Boolean(on));
};

// Do it; if it throws a sentence, say that sentence.
const attempt = (view, what) => {
  view.problem.textContent = '';
  try { return what(); } catch (e) {
    const said = typeof e == 'string' ? e : `This is no state that can be loaded: ${e.message}.`;
    view.problem.textContent = said;
    return null;
  }
};

const take = async (view, file) => {
  view.problem.textContent = '';
  try {
    const pixels = await pictureOf(view.data, file);
    remember(view);
    setPixels(view, pixels);
  } catch (e) { view.problem.textContent = typeof e == 'string' ? e :
    `The picture could not be read: ${PLEASE}.`; }
};

// ---- save and load -----------------------------------------------------------------------------

// The part of an address behind #: it names its explorer; others on the page stay as they are.
const markOf = host => `#dems-${host.dataset.viewer}=`;
const toLink = view => markOf(view.host) + encodeURIComponent(btoa(JSON.stringify(view.state)));
const fromLink = view => {
  const mark = markOf(view.host);
  return location.hash.startsWith(mark) && attempt(view, () =>
    checked(view.net, JSON.parse(atob(decodeURIComponent(location.hash.slice(mark.length))))));
};

// The panels, the sentence and the answer as one drawing.
const figureOf = view => {
  const {data, trace} = view, n = data.patches.length, side = 210, gap = 18,
    width = Math.max(520, n*(side + gap) + gap);
  const light = {ink: '#1b1b1f', soft: '#5a5a62', paper: '#ffffff', line: '#c9c9cf'};
  const thick = v => v*data.side/32;                           // in pixels of the picture
  const order = trace.answer.map((p, i) => [p, i]).sort((a, b) => b[0] - a[0]).slice(0, 5);
  const height = side + 118 + 20*order.length;
  const svg = make('svg', {xmlns: SVG, viewBox: `0 0 ${width} ${height}`, width, height,
    'font-family': 'system-ui, sans-serif', 'font-size': 12, fill: light.ink});
  make('rect', {width, height, fill: light.paper}, svg);
  const picture = view.canvas.toDataURL();
  view.svgs.forEach((panel, k) => {
    const x = gap + k*(side + gap),
      g = make('g', {transform: `translate(${x} 34) scale(${side/data.side})`}, svg);
    const share = panel.closest('figure').querySelector('.share').textContent;
    make('text', {x, y: 26}, svg, `${data.patches[k]}-pixel patches: ${share}`);
    make('image', {href: picture, width: data.side, height: data.side,
      style: 'image-rendering: pixelated'}, g);
    for (const rect of panel.querySelectorAll('rect, path')) {
      const copy = rect.cloneNode(), outer = rect.classList.contains('outer'),
        frame = rect.classList.contains('frame');
      if (frame && rect.hasAttribute('hidden')) continue;
      for (const a of [...copy.attributes])
        if (!['x', 'y', 'width', 'height', 'd', 'fill', 'fill-opacity'].includes(a.name))
        copy.removeAttribute(a.name);
      const pen = frame ? {fill: 'none', stroke: outer ? '#000' : '#fff',
        'stroke-width': thick(outer ? .8 : .35)} :
        {stroke: '#fff', 'stroke-opacity': rect.matches('path') ? 1 : .35,
        'stroke-width': thick(.1)};
      for (const [a, v] of Object.entries(pen)) copy.setAttribute(a, v);
      g.append(copy);
    }
    make('rect', {x, y: 34, width: side, height: side, fill: 'none', stroke: data.colors[k],
      'stroke-width': 3}, svg);
  });
  wrapped(view.said.textContent, width - 2*gap).forEach((line, i) =>
    make('text', {x: gap, y: side + 58 + 16*i}, svg, line));
  order.forEach(([p, i], r) => {
    const y = side + 104 + 20*r, long = width - 2*gap - 220;
    make('text', {x: gap, y: y + 10}, svg, String(data.classes[i]).slice(0, 24));
    make('rect', {x: gap + 150, y, width: Math.max(1, long*p), height: 12, fill: r ? '#8e8e96' :
      light.ink}, svg);
    make('text', {x: width - gap, y: y + 10, 'text-anchor': 'end'}, svg, percent(p));
  });
  return new XMLSerializer().serializeToString(svg);
};

const wrapped = (text, width) => text.split(' ').reduce((lines, word) => {
  const last = lines[lines.length - 1];
  if ((last + word).length*6.1 > width) lines.push(word);
  else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  return lines;
}, ['']).slice(0, 3);

const pngOf = async text => {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = make('canvas', {});
  canvas.width = 2*image.width;
  canvas.height = 2*image.height;
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/png');
};

const keepNow = async view => {
  now(view);
  const svg = figureOf(view), at = name => view.keep.querySelector(name);
  at('textarea').value = JSON.stringify(view.state);
  at('a.link').href = location.href.split('#')[0] + toLink(view);
  at('a.svg').href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  at('img').src = at('a.png').href = await pngOf(svg);
};

// ---- pointer and keys --------------------------------------------------------------------------

const stageOfKind = kind => kind == 'token' ? 0 : +kind.slice(5);

const cellOf = e => {
  const rect = e.target.closest?.('rect[data-i]');
  return rect && [stageOfKind(rect.dataset.kind), +(rect.dataset.real ?? rect.dataset.i)];
};

const same = (a, b) => a && b && a[0] == b[0] && a[1] == b[1];

const listenCells = view => {
  const {root} = view;
  const look = at => {                                         // pointing shows, without choosing
    const fits = at && settled(view.net, {...view.state, token: at}, 'token');
    const ok = fits && fits.block == view.state.block && fits.mode == view.state.mode;
    const next = ok ? fits.token : null;
    if (same(next, view.hover) || !next && !view.hover || view.waiting) return;
    view.hover = next;
    paint(view);
  };
  root.addEventListener('pointerover', e => { if (e.pointerType != 'touch') look(cellOf(e)); });
  root.querySelector('.card').addEventListener('pointerleave', () => look(null));
  const choose = e => { const at = cellOf(e); if (at) apply(view, {token: at}, 'token'); };
  root.addEventListener('click', choose);
  root.addEventListener('focusin', e => {
    const at = cellOf(e);
    if (at && !same(at, view.state.token)) choose(e);
  });
  root.addEventListener('keydown', e => {
    const rect = e.target.closest?.('rect[data-i]');
    if (rect && keyOnCell(view, rect, e.key)) e.preventDefault();
  });
};

// Arrow keys walk, + and - change the scale, x cuts. Says whether the key was one of these.
const keyOnCell = (view, rect, key) => {
  const {data} = view, i = +rect.dataset.i, svg = rect.ownerSVGElement,
    panel = svg.classList.contains('panel');
  if (key == 'x' || key == 'Delete') {
    if (rect.dataset.kind == 'token' && i >= 0) cutToggle(view, [i]);
    return true;
  }
  let next;
  if (key in ARROWS && panel) next = neighbour(data, i, ARROWS[key]);
  else if (key in ARROWS) {
    const [dx, dy] = ARROWS[key], n = view.cells.get(svg).filter(r => +r.dataset.i >= 0).length;
    next = i < 0 ? (dx > 0 ? 0 : -2) : i + dx + dy*svg.dataset.per;
    if (next < -1 || next >= n || next == -1 && dx >= 0) next = -2;
    if (next == -1 && !view.cells.get(svg).some(r => r.dataset.i == -1)) next = -2;
  } else if (rect.dataset.kind == 'token' && i >= 0 && (key == '+' || key == '-'))
    next = data.linked[i].find(j => data.scale[j] == data.scale[i] + (key == '+' ? 1 : -1)) ?? -2;
  else return key == 'Enter' || key == ' ';
  if (panel && next < 0) return true;
  const go = where => view.cells.get(where).find(r => r.dataset.i == next &&
    r.dataset.kind == rect.dataset.kind);
  const to = go(svg) || [...view.svgs].map(go).find(Boolean);
  if (to && next != -2) to.focus();
  return true;
};

const listenCanvas = view => {
  const {canvas, data} = view, place = e => {
    const box = canvas.getBoundingClientRect(), by = data.side/box.width;
    return [(e.clientX - box.left)*by, (e.clientY - box.top)*by];
  };
  const color = () => {
    const n = data.config.in_chans;
    if (view.erasing || !view.color) return Array(n).fill(view.erasing ? 0 : 255);
    return [1, 3, 5].map(i => parseInt(view.color.value.slice(i, i + 2), 16));
  };
  const draw = (from, to) => {
    const radius = .6*view.thick.value*data.side/32;
    view.ink = stroke(data, view.ink, from, to, radius, color());
    apply(view, {picture: textOf(view.ink), shift: [0, 0]});
  };
  canvas.addEventListener('pointerdown', e => {
    if (e.button) return;
    try { canvas.setPointerCapture(e.pointerId); } catch { /* a pointer that a script made up */ }
    remember(view);
    view.pen = place(e);
    view.ink = shifted(data, basePixels(view), view.state.shift);
    draw(view.pen, view.pen);
  });
  canvas.addEventListener('pointermove', e => {
    if (!view.pen) return;
    const from = view.pen;
    view.pen = place(e);
    draw(from, view.pen);
  });
  for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => {
    view.pen = view.ink = null;
  });
  canvas.addEventListener('keydown', e => {
    if (e.key in ARROWS) move(view, e.key);
    else if (e.key == 'z' && (e.ctrlKey || e.metaKey)) DO.undo(view);
    else return;
    e.preventDefault();
  });
};

const listenFiles = view => {
  const {root, easel} = view, card = root.querySelector('.card');
  const over = on => e => {
    e.preventDefault();
    easel.classList.toggle('over', on);
  };
  card.addEventListener('dragover', over(true));
  card.addEventListener('dragleave', over(false));
  card.addEventListener('drop', e => { over(false)(e); take(view, e.dataTransfer.files[0]); });
  root.addEventListener('paste', e => {
    if (e.target.closest?.('textarea')) return;
    e.preventDefault();
    take(view, e.clipboardData.files[0]);
  });
  view.file.addEventListener('change', () =>
    { take(view, view.file.files[0]); view.file.value = ''; });
};

const listenControls = view => {
  const {root} = view;
  root.addEventListener('click', e => {
    const b = e.target.closest?.('[data-do]');
    if (b && !b.disabled) DO[b.dataset.do](view, b);
  });
  root.addEventListener('change', e => {
    const {name, value, checked: on} = e.target;
    if (name == 'mode') apply(view, {mode: value}, 'token');
    if (name == 'block') apply(view, {block: +value}, 'block');
    if (name == 'head') apply(view, {head: +value}, 'block');
    if (name == 'attention') apply(view, {attention: on}, 'token');
  });
  root.addEventListener('keydown', e => {
    // the notebook's own shortcuts stay out of it
    e.stopPropagation();
    if (e.key == 'Escape' && view.state.step) apply(view, {step: 0});
  });
};

const start = (host, data) => {
  const root = host.attachShadow({mode: 'open'}), net = makeNet(data);
  const view = {host, root, data, net, undo: [], region: data.regions - 1, ms: 0};
  make('style', {}, root, STYLE);
  const card = make('div', {class: 'card', role: 'region', 'aria-label': data.title},
    make('div', {class: 'room'}, root));
  buildHead(view, card);
  buildTour(view, card);
  buildKeep(view, card);
  const grid = make('div', {class: 'grid'}, card);
  const [left, middle, right] = ['left', 'middle', 'right'].map(name =>
    make('div', {class: name}, grid));
  buildInput(view, left);
  buildAsk(view, middle);
  buildPanels(view, middle);
  buildAnswer(view, middle);
  buildSequence(view, right);
  buildMatrices(view, right);
  view.cells = new Map([...root.querySelectorAll('svg')].map(svg =>
    [svg, [...svg.querySelectorAll('rect[data-i]')]]));
  view.state = first(net);
  if (data.state) view.state = attempt(view, () => checked(net, data.state)) || view.state;
  view.state = fromLink(view) || view.state;
  host.explorer = {
    get state() { return JSON.parse(JSON.stringify(view.state)); },
    set state(given) { view.state = checked(net, given); redraw(view); },
    get trace() { now(view); return view.trace; },
    get found() { now(view); return view.found; },
    get pixels() { now(view); return view.pixels; },
    run: (pixels, cut) => forward(net, pixels, cut), rollout: (trace, k) => rollout(net, trace, k)};
  followTheme(host);
  redraw(view);
  setTimeout(() => {                                           // once it is compiled, it is fast
    if (view.ms < 500) for (let i = 0; i < 3; i++) think(view);
    paintAnswer(view);
  }, 200);
  tools(view);
  listenControls(view);
  listenCells(view);
  listenCanvas(view);
  listenFiles(view);
  addEventListener('hashchange', () => {                       // another link, in the same tab
    const said = fromLink(view);
    if (said) apply(view, said);
  });
  new MutationObserver(() => paint(view)).observe(host,
    {attributes: true, attributeFilter: ['data-theme']});
};
