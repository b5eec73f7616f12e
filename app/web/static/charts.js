// Lines over versions and over epochs. What is drawn stands beside the plot, as JSON.

const HEIGHT = 230;
const drawn = new Map();
const STROKES = ["--accent", "--good", "--warn", "--wrong", "--quiet", "--text"];

const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function brightness(rgb) {
  const [r, g, b] = rgb.map((one) => (one / 255 <= 0.04045 ? one / 3294.6 : ((one / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** A class's colour, moved towards the text's until it can be seen on this ground. */
function visible(hex) {
  const ground = brightness(channels(theme("--surface"))), text = channels(theme("--text"));
  let rgb = channels(hex);
  for (let turn = 0; turn < 8; turn += 1) {
    const own = brightness(rgb);
    if ((Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05) >= 3) break;
    rgb = rgb.map((one, at) => Math.round(one + 0.2 * (text[at] - one)));
  }
  return `rgb(${rgb.join(" ")})`;
}

const percent = (value) => (value == null ? "–" : (100 * value).toFixed(1));
const loss = (value) => (value == null ? "–" : value.toPrecision(3));

function overVersions({ versions, lines }) {
  const means = [["--accent", 2.5, []], ["--text", 1.5, [6, 4]], ["--text", 1.5, [2, 3]]];
  return {
    data: [versions, ...lines.map((line) => line.values)],
    series: lines.map(({ name, colour }, at) => {
      const [of, width, dash] = means[at] ?? [null, 1.25, []];
      return { label: name, stroke: colour ? visible(colour) : theme(of), width, dash };
    }),
    x: (value) => `version ${value}`,
    value: percent,
    range: (_, low, high) => [Math.floor(10 * low - 0.2) / 10, Math.ceil(10 * high + 0.2) / 10].map((one) => Math.min(1, Math.max(0, one))),
    axis: (values) => values.map((one) => Math.round(100 * one)),
  };
}

function overEpochs(epochs) {
  const names = [...new Set(epochs.flatMap(({ losses }) => Object.keys(losses)))];
  const values = names.map((name) => epochs.map(({ losses }) => losses[name] ?? null));
  const known = values.flat().filter((one) => one > 0);
  const wide = known.length > 1 && Math.max(...known) > 30 * Math.min(...known);
  return {
    data: [epochs.map(({ epoch }) => epoch), ...values],
    series: names.map((name, at) => ({
      label: name.replaceAll("_", " "),
      stroke: theme(STROKES[at % STROKES.length]),
      width: 2,
      dash: at < STROKES.length ? [] : [5, 4],
    })),
    x: (value) => `epoch ${value}`,
    value: loss,
    log: wide,
    axis: (found) => found.map((one) => (one == null ? "" : String(+one.toPrecision(2)))),
  };
}

const KINDS = { versions: overVersions, losses: overEpochs };

function draw(figure) {
  const { source } = drawn.get(figure);
  drawn.get(figure).plot?.destroy();
  const place = figure.querySelector(".plot"), hidden = drawn.get(figure).hidden;
  const of = KINDS[figure.dataset.chart](source);
  if (of.data[0].length < 2 || !place.clientWidth) return;
  const line = { stroke: theme("--quiet"), grid: { stroke: theme("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const plot = new uPlot(
    {
      width: place.clientWidth,
      height: HEIGHT,
      padding: [12, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: false }, y: of.range ? { range: of.range } : of.log ? { distr: 3 } : { range: (_, low, high) => [Math.min(0, low), high * 1.05 || 1] } },
      axes: [
        { ...line, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], size: 30 },
        { ...line, values: (_, values) => of.axis(values), size: 44 },
      ],
      series: [{}, ...of.series.map((one) => ({ ...one, points: { show: of.data[0].length < 12, size: 5 }, spanGaps: true, show: !hidden.has(one.label) }))],
      hooks: { setCursor: [(self) => legend(figure, self, of)] },
    },
    of.data,
    place,
  );
  drawn.get(figure).plot = plot;
  legend(figure, plot, of);
}

/** Names with the figures under the pointer, else the last ones; each switches its line. */
function legend(figure, plot, of) {
  const { hidden } = drawn.get(figure), list = figure.querySelector(".legend");
  const at = plot.cursor.idx ?? of.data[0].length - 1;
  if (list.children.length !== of.series.length + 1) {
    list.replaceChildren(document.createElement("span"), ...of.series.map((one) => switchOf(figure, one)));
  }
  list.firstChild.textContent = of.x(of.data[0][at]);
  of.series.forEach((one, place) => {
    const button = list.children[place + 1];
    button.setAttribute("aria-pressed", String(!hidden.has(one.label)));
    button.lastChild.textContent = of.value(of.data[place + 1][at]);
  });
}

function switchOf(figure, { label, stroke, dash }) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "series" });
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  mark.setAttribute("viewBox", "0 0 16 4");
  mark.setAttribute("aria-hidden", "true");
  const stripe = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of [["d", "M0 2h16"], ["stroke", stroke], ["stroke-width", 3], ["stroke-dasharray", dash.join(" ") || "none"]]) {
    stripe.setAttribute(name, value);
  }
  mark.append(stripe);
  button.append(mark, Object.assign(document.createElement("span"), { textContent: label }), document.createElement("b"));
  button.addEventListener("click", () => {
    const { hidden } = drawn.get(figure);
    hidden[hidden.has(label) ? "delete" : "add"](label);
    draw(figure);
  });
  return button;
}

function take(figure) {
  if (drawn.has(figure)) return;
  drawn.set(figure, { source: JSON.parse(figure.querySelector("script").textContent), plot: null, hidden: new Set(), due: 0 });
  const place = figure.querySelector(".plot");
  new ResizeObserver(() => drawn.get(figure)?.plot?.width !== place.clientWidth && draw(figure)).observe(place);
  figure.addEventListener("epoch", ({ detail }) => {
    const one = drawn.get(figure);
    const others = one.source.filter(({ epoch }) => epoch !== detail.epoch);
    one.source = [...others, detail].sort((a, b) => a.epoch - b.epoch);
    // Who comes late is told of all epochs at once.
    one.due ||= requestAnimationFrame(() => {
      one.due = 0;
      if (drawn.has(figure)) draw(figure);
    });
  });
}

function all() {
  for (const figure of drawn.keys()) if (!figure.isConnected) drawn.delete(figure);
  document.querySelectorAll("[data-chart]").forEach(take);
}

document.addEventListener("htmx:afterSettle", all);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const figure of drawn.keys()) {
    figure.querySelector(".legend").replaceChildren();
    draw(figure);
  }
});
all();
