// The viewer: matrices worked out in Python, lit by what the reader points at.

const WORDS = {
  kin: 'Kin: the tokens of other scales that see pixels of the chosen one. Geometry, no model.',
  mixing: 'Mixing: what one interaction makes a mixed token from. Choose a mixed token, ' +
    'or a source to see where it goes.',
  provenance: 'Provenance: how much of each original token is in a later one, all steps ' +
    'multiplied. For the class token attention is followed too (rollout).'};

// Regions in a row of a strip: one, or as many as there are rows where each has few tokens.
const abreast = (regions, per) => per < 4 && regions > 8 ? Math.round(Math.sqrt(regions)) : 1;

const strip = (parent, kind, regions, per, fill, label) => {
  const wide = per*abreast(regions, per), rows = Math.ceil(per*regions/wide);
  const numbered = kind == 'target' && per > 1 && per <= 16, tall = rows > 8 ? 8 : numbered ?
    22 : 18;
  const svg = make('svg', {class: 'strip', viewBox: `0 0 ${26*wide} ${tall*rows}`, role: 'group',
    preserveAspectRatio: 'none', 'data-per': wide,
    style: `height: ${tall*rows}px; max-width: ${26*wide}px`, 'aria-label': `${kind} sequence`},
      parent);
  for (let i = 0; i < per*regions; i++) {
    const row = Math.floor(i/wide), x = 26*(i % wide), y = tall*row;
    cell(svg, kind, i, x, y + 1, 26, tall - 2, fill(i), label(i));
    if (numbered)
      make('text', {x: x + 13, y: y + tall/2 + 4, 'aria-hidden': true}, svg, String(i % per));
  }
  return svg;
};

// What lights up: a weight from 0 to 1 for every token, from what Python sent.
const unpack = m => ({...m, w: Uint8Array.from(atob(m.w), c => c.charCodeAt(0))});
const weight = (m, target, source) => {
  const one = Math.floor(target/m.targets) == Math.floor(source/m.per);
  return one ? m.w[target*m.per + source % m.per]/255*m.peak[target] : 0;
};
const weigh = (data, m, at) => {
  const lit = {token: new Map(), mixed: new Map(), target: new Map()};
  if (!m) for (const i of data.linked[at.i]) lit.token.set(i, 1);
  else if (at.kind == 'target') {
    const first = Math.floor(at.i/m.targets)*m.per;
    for (let i = first; i < first + m.per; i++) lit[m.sources].set(i, weight(m, at.i, i));
  } else if (at.kind == m.sources) {
    const first = Math.floor(at.i/m.per)*m.targets;
    for (let i = first; i < first + m.targets; i++) lit.target.set(i, weight(m, i, at.i));
  }
  return lit;
};

// The target that averages the fewest tokens: the one there is most to see of.
const mostPeaked = m => {
  const averaged = Array.from({length: m.regions*m.targets}, (_, t) =>
    perplexity(Array.from(m.w.subarray(t*m.per, (t + 1)*m.per))));
  return averaged.indexOf(Math.min(...averaged));
};

// Everything can be said in words, too.
const sayKin = (data, at) => {
  const kin = count(data, new Map(data.linked[at.i].map(i => [i, 1]))).filter(([, n]) => n);
  const sizes = kin.length ? ` (${kin.map(([p, n]) => `${n} of ${p} px`).join(', ')})` : '';
  return `Position ${at.i}: ${where(data, at.i)}, in region ${data.region[at.i]}. ` +
    `Kin: ${data.linked[at.i].length}${sizes}.`;
};
const sayTarget = (data, m, at, lit) => {
  const on = [...lit[m.sources].values()], region = Math.floor(at.i/m.targets);
  const mixed = `Mixed token ${at.i % m.targets} of region ${region}`;
  const name = m.name.startsWith('class') ? `The ${m.name}` : mixed;
  const scales = count(data, lit.token), parts = percents([...scales.map(([, , v]) => v), m.rest]);
  const shares = m.sources == 'token' ?
    scales.map(([p], k) => `${parts[k]} from ${p} px`).join(', ') :
    'from mixed tokens, which have no place in the picture: provenance follows them there';
  const rest = m.rest ? `, ${parts[parts.length - 1]} from the class token at the start` : '';
  const n = perplexity(on).toFixed(1);
  return `${name}: ${shares}${rest}. It averages ${n} of ${on.length} tokens, in effect.`;
};
const saySource = (data, m, at, lit) => {
  const on = [...lit.target], most = on.reduce((a, b) => b[1] > a[1] ? b : a, [0, -1]);
  const name = m.sources == 'token' ? `Position ${at.i}: ${where(data, at.i)}` :
    `Mixed token ${at.i} of the step before`;
  if (m.name.startsWith('class')) return `${name}, has ${percent(most[1])} of the ${m.name}.`;
  return `${name}, goes into ${on.length} mixed tokens of its region, ` +
    `most of all into ${most[0] % m.targets} (${percent(most[1])} of it).`;
};
const say = (data, m, at, lit) => {
  if (!m) return sayKin(data, at);
  if (at.kind == 'target') return sayTarget(data, m, at, lit);
  if (at.kind == m.sources) return saySource(data, m, at, lit);
  return `Position ${at.i}: ${where(data, at.i)}; it was mixed before this step.`;
};

// What the colours mean, in numbers.
const explain = (view, at, lit) => {
  const {data, map, root} = view, tokens = lit.token;
  const shown = map && tokens.size && at.kind == 'target';
  const kind = Object.keys(lit).find(k => lit[k].size) || 'token';
  const top = Math.max(0, ...lit[kind].values());
  root.querySelector('.legend').hidden = !map || !top;
  root.querySelector('.legend .top').textContent = percent(top);
  const scales = count(data, tokens),
    parts = percents([...scales.map(([, , v]) => v), map ? map.rest : 0]);
  root.querySelectorAll('.share').forEach((e, k) => {
    const kin = map ? '' : at.kind == 'token' && data.scale[at.i] == k ? 'the chosen one' :
      `${scales[k][1]} kin`;
    e.textContent = shown ? parts[k] : kin;
  });
};

// the frame of the chosen token, on top of all others
const framed = root => {
  root.querySelectorAll('rect.frame').forEach(e => e.remove());
  for (const rect of root.querySelectorAll('rect.at'))
    for (const name of ['frame', 'frame inner']) {
    const [x, y, width, height] = ['x', 'y', 'width', 'height'].map(a => rect.getAttribute(a));
    make('rect', {x, y, width, height, class: name}, rect.parentNode);
  }
  // one stop of the Tab key in each drawing
  for (const svg of root.querySelectorAll('svg')) {
    svg.querySelectorAll('rect[tabindex="0"]').forEach(e => e.setAttribute('tabindex', -1));
    const stop = ['rect.at', 'rect.lit', 'rect'].map(s => svg.querySelector(s)).find(Boolean);
    stop.setAttribute('tabindex', 0);
  }
};

const paint = (view, at) => {
  const {data, map, root} = view, lit = weigh(data, map, at);
  for (const kind of Object.keys(lit)) {
    const top = Math.max(1e-9, ...lit[kind].values());
    for (const rect of root.querySelectorAll(`rect[data-kind=${kind}]`)) {
      const i = +rect.dataset.i, w = lit[kind].get(i) || 0, here = kind == at.kind && i == at.i;
      const onPanel = rect.parentNode.classList.contains('panel'), flat = here && !map ? 1 : w/top;
      rect.setAttribute('fill-opacity', onPanel ? .72*flat : .12 + .88*flat);
      rect.classList.toggle('at', here);
      rect.classList.toggle('lit', w > 0);
      rect.setAttribute('aria-pressed', here);
      if (w > 0) rect.dataset.w = w.toFixed(6); else delete rect.dataset.w;
    }
  }
  framed(root);
  explain(view, at, lit);
  root.querySelector('.said').textContent = say(data, map, at, lit);
};

const step = (data, rect, key) => {
  const i = +rect.dataset.i, svg = rect.parentNode,
    all = svg.querySelectorAll('rect[data-i]').length;
  if (key in ARROWS && svg.classList.contains('panel')) return neighbour(data, i, ARROWS[key]);
  if (key in ARROWS) {
    const [dx, dy] = ARROWS[key], next = i + dx + dy*svg.dataset.per;
    return next < 0 || next >= all ? -1 : next;
  }
  if (rect.dataset.kind == 'token' && '+-'.includes(key))
    return data.linked[i].find(j => data.scale[j] == data.scale[i] + (key == '+' ? 1 : -1)) ?? -1;
  if (key == 'Enter' || key == ' ') return i;
};

const listen = view => {
  const {root, data} = view, cellOf = e => {
    const rect = e.target.closest?.('rect[data-i]');
    return rect && {kind: rect.dataset.kind, i: +rect.dataset.i, rect};
  };
  const pin = at => {
    view.at = at;
    if (at.kind == 'token') view.token = at.i;
    paint(view, at);
  };
  root.addEventListener('pointerover', e => { const at = cellOf(e); if (at) paint(view, at); });
  root.querySelector('.card').addEventListener('pointerleave', () => paint(view, view.at));
  for (const name of ['click', 'focusin'])
    root.addEventListener(name, e => { const at = cellOf(e); if (at) pin(at); });
  root.addEventListener('keydown', e => {
    const at = cellOf(e), next = at && step(data, at.rect, e.key);
    if (next === null || next === undefined) return;
    e.preventDefault();
    e.stopPropagation();
    if (next < 0) return;
    const go = svg => svg.querySelector(`rect[data-kind=${at.kind}][data-i="${next}"]`);
    (go(at.rect.parentNode) || go(root)).focus();
  });
};

const controls = (view, card, maps, show) => {
  const bar = make('div', {class: 'bar'}, card), modes = ['kin', ...new Set(maps.map(m => m.mode))];
  const group = make('div', {class: 'bar modes', role: 'radiogroup', 'aria-label': 'what to show'},
    bar);
  const layer = make('select', {'aria-label': 'layer'}, bar);
  const words = make('p', {class: 'words'}, card);
  const choose = mode => {
    layer.replaceChildren();
    layer.hidden = mode == 'kin';
    words.textContent = WORDS[mode];
    maps.forEach((m, i) => { if (m.mode == mode) make('option', {value: i}, layer, m.name); });
    show(mode == 'kin' ? null : maps[layer.value]);
  };
  for (const mode of modes) {
    const label = make('label', {title: WORDS[mode]}, group);
    const input = make('input', {type: 'radio', name: 'mode', value: mode}, label);
    make('span', {}, label, mode);
    input.checked = mode == 'kin';
    input.addEventListener('change', () => choose(mode));
  }
  layer.addEventListener('change', () => show(maps[layer.value]));
  bar.hidden = !maps.length;
  layer.hidden = true;
  words.textContent = WORDS.kin;
};

const strips = (view, box, map) => {
  const {data} = view, mixed = map && map.sources == 'mixed', grey = () => 'var(--line)';
  const T = data.scale.length/data.regions, rowOf = (regions, per) => {
    const n = abreast(regions, per);
    return n > 1 ? `${n} regions a row` : 'a row a region';
  };
  box.replaceChildren();
  if (map) {
    const per = `mixed tokens 0 to ${map.targets - 1}, ${rowOf(map.regions, map.targets)}`;
    make('h4', {}, box, map.targets > 1 ? `${map.name}: ${per}` : map.name);
    const name = i => map.targets > 1 ?
      `mixed token ${i % map.targets} of region ${Math.floor(i/map.targets)}` : map.name;
    strip(box, 'target', map.regions, map.targets, grey, name);
  }
  const heading = mixed ? 'made from the mixed tokens of the step before' :
    `the sequence, ${rowOf(data.regions, T)}${data.patches.length > 1 ? ', fine to coarse' : ''}`;
  make('h4', {}, box, heading);
  if (mixed) strip(box, 'mixed', map.regions, map.per, grey, i => `mixed token ${i}`);
  else strip(box, 'token', data.regions, T, i => data.colors[data.scale[i]], i => where(data, i));
};

const start = (host, data) => {
  const root = host.attachShadow({mode: 'open'}), view = {data, root, token: data.at};
  make('style', {}, root, STYLE);
  const card = make('div', {class: 'card', role: 'region', 'aria-label': 'tokens of one picture'},
    root);
  const show = map => {
    view.map = map;
    view.at = map ? {kind: 'target', i: mostPeaked(map)} : {kind: 'token', i: view.token};
    strips(view, box, map);
    paint(view, view.at);
  };
  const maps = data.maps.map(unpack);
  const later = make('div', {}, null);
  const legend = make('p', {class: 'legend', hidden: ''}, later);
  make('i', {}, legend);
  make('span', {}, legend, 'full colour is ');
  make('b', {class: 'top'}, legend);
  make('span', {}, legend,
    ', the largest weight of one token; beside a scale’s name: what its tokens have together');
  make('p', {class: 'said', role: 'status', 'aria-live': 'polite'}, later);
  if (data.answer) make('p', {class: 'answer'}, later, data.answer);
  const box = make('div', {}, later);
  make('p', {class: 'keys'}, later,
    'Point, click, or go with Tab and the arrow keys; + and - change the scale.');
  controls(view, card, maps, show);
  panels(data, make('div', {class: 'panels'}, card));
  card.append(...later.children);
  listen(view);
  followTheme(host);
  show(null);
};
