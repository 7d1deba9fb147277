// What the viewer and the explorer share: elements, themes, tokens as rectangles, numbers in words.
// The Python side puts the pieces into one function: nothing of it is a name of the page.

const SVG = 'http://www.w3.org/2000/svg';
const SHAPES = ['svg', 'g', 'rect', 'image', 'text', 'title', 'path', 'line', 'defs', 'pattern'];

const make = (tag, attributes, parent, text) => {
  const e = SHAPES.includes(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined && text !== '') e.textContent = text;
  return parent ? parent.appendChild(e) : e;
};

// Light or dark, as JupyterLab, VS Code and Colab say it, or the background, or the system.
const isDark = host => {
  const body = document.body, page = document.documentElement;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight == 'false';
  if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.includes('light');
  if (page.getAttribute('theme')) return page.getAttribute('theme') == 'dark';
  for (let e = host.parentElement; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor.match(/^rgba?[(](.*)[)]$/)?.[1] || '0,0,0,0';
    const [red, green, blue, alpha = 1] = color.split(/[ ,/]+/).map(Number);
    if (alpha > .5) return .3*red + .59*green + .11*blue < 128;
  }
  return matchMedia('(prefers-color-scheme: dark)').matches;
};

const followTheme = host => {
  const set = () => { host.dataset.theme = isDark(host) ? 'dark' : 'light'; };
  const watch = new MutationObserver(() => { set(); setTimeout(set, 300); });
  for (const e of [document.documentElement, document.body]) watch.observe(e, {attributes: true});
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', set);
  set();
};

// Where a token lies, in words.
const where = (data, i) => {
  const [row, column] = data.cells[i];
  return `${data.patches[data.scale[i]]}-pixel patch in row ${row}, column ${column}`;
};

// A token: one rectangle that can be pointed at, reached by keys and read aloud.
const cell = (svg, kind, i, x, y, width, height, fill, label) => make('rect', {
  x, y, width, height, fill, 'data-kind': kind, 'data-i': i,
  tabindex: -1, role: 'button', 'aria-label': label, 'aria-pressed': false}, svg);

// A panel for each scale: the picture, and a rectangle for each of the scale's tokens.
const panels = (data, parent) => data.patches.map((patch, k) => {
  const figure = make('figure', {}, parent), S = data.side, n = S/patch;
  const caption = make('figcaption', {}, figure);
  make('b', {style: `--scale: ${data.colors[k]}`}, caption, `${patch}-pixel patches`);
  make('span', {class: 'share'}, caption);
  const svg = make('svg', {class: 'panel', viewBox: `0 0 ${S} ${S}`, role: 'group',
    style: `border-color: ${data.colors[k]}`,
    'aria-label': `${patch}-pixel patches, ${n} rows of ${n}`}, figure);
  make('image', {href: data.picture || '', width: S, height: S}, svg);
  data.boxes.forEach(([x0, y0, x1, y1], i) => {
    if (data.scale[i] == k)
      cell(svg, 'token', i, x0, y0, x1 - x0, y1 - y0, data.colors[k], where(data, i));
  });
  return svg;
});

// Keys: over a panel by place, over a strip by sequence; + and - change the scale.
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

const neighbour = (data, i, [dx, dy]) => {
  const [x0, y0, x1] = data.boxes[i], side = x1 - x0;
  const there = ([x, y], j) => data.scale[j] == data.scale[i] && x == x0 + dx*side && y == y0 +
    dy*side;
  return data.boxes.findIndex(there);
};

// Parts of a whole as percentages with one decimal that add up to what the whole is, rounded.
const percents = parts => {
  const whole = Math.round(1000*parts.reduce((a, b) => a + b, 0));
  const tenths = parts.map(v => Math.floor(1000*v + 1e-9));
  const missing = Math.max(0, whole - tenths.reduce((a, b) => a + b, 0));
  const rest = parts.map((v, i) => [1000*v - tenths[i], i]).sort((a, b) => b[0] - a[0]);
  for (const [, i] of rest.slice(0, missing)) tenths[i] += 1;
  return tenths.map(v => `${(v/10).toFixed(1)} %`);
};
const percent = v => percents([v])[0];

// Weights of the tokens summed scale by scale: [patch, tokens that have some, their sum].
const count = (data, lit) => data.patches.map((patch, k) => {
  const on = [...lit].filter(([i]) => data.scale[i] == k);
  return [patch, on.length, on.reduce((sum, [, v]) => sum + v, 0)];
});

// How many tokens weights average, in effect: the exponential of their entropy.
const perplexity = weights => {
  const sum = weights.reduce((a, b) => a + b, 0);
  return Math.exp(-weights.reduce((s, v) => s + (v > 0 ? v/sum*Math.log(v/sum) : 0), 0));
};
