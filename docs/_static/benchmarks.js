// Draws the charts of benchmarks.html: curves with bands, a line that follows the pointer, and a legend that hides curves.
const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 300, LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 42;
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

function element(parent, name, attributes = {}, text = "") {
  const made = name in { div: 1, button: 1, span: 1 } ? document.createElement(name) : document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high; place += 1) found.push(place * step + 0); // no -0
  return found;
}

function nearest(steps, step) {
  return steps.reduce((best, each, place) => (Math.abs(each - step) < Math.abs(steps[best] - step) ? place : best), 0);
}

function chart(figure) {
  const curves = JSON.parse(figure.querySelector("script").textContent).map((curve, place) => ({ ...curve, place, shown: true }));
  const area = element(figure, "div", { class: "area" });
  const tip = element(figure, "div", { class: "tip", hidden: "" });
  const legend = element(figure, "div", { class: "legend" });

  function draw() {
    const width = area.clientWidth, shown = curves.filter((curve) => curve.shown);
    area.replaceChildren();
    const svg = element(area, "svg", { width, height: HEIGHT });
    const last = Math.max(...curves.map((curve) => curve.steps.at(-1)));
    const among = shown.length ? shown : curves;
    let low = Math.min(...among.flatMap((curve) => curve.low)), high = Math.max(...among.flatMap((curve) => curve.high));
    [low, high] = [low - 0.04 * (high - low), high + 0.04 * (high - low)];
    const x = (step) => LEFT + (step / last) * (width - LEFT - RIGHT);
    const y = (value) => TOP + ((high - value) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    for (const tick of ticks(low, high, 5)) {
      element(svg, "line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) });
      element(svg, "text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, whole.format(tick));
    }
    for (const tick of ticks(0, last, width < 500 ? 3 : 6)) {
      const end = x(tick) > width - RIGHT - 20;
      element(svg, "text", { x: end ? width - RIGHT : x(tick), y: HEIGHT - 24, "text-anchor": end ? "end" : "middle" }, whole.format(tick));
    }
    element(svg, "text", { x: (LEFT + width) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "environment steps");
    for (const { steps, mean, low, high, place } of shown) {
      const line = (values) => steps.map((step, at) => `${x(step).toFixed(1)},${y(values[at]).toFixed(1)}`);
      element(svg, "polygon", { class: `band curve-${place}`, points: [...line(high), ...line(low).reverse()].join(" ") });
      element(svg, "polyline", { class: `line curve-${place}`, points: line(mean).join(" ") });
    }
    const pointer = element(svg, "line", { class: "pointer", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    const steps = [...new Set(shown.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
    const follow = (event) => {
      if (!steps.length) return;
      const left = event.clientX - svg.getBoundingClientRect().left;
      const step = steps[nearest(steps, ((left - LEFT) / (width - LEFT - RIGHT)) * last)];
      for (const side of ["x1", "x2"]) pointer.setAttribute(side, x(step));
      pointer.setAttribute("visibility", "visible");
      tip.replaceChildren();
      element(tip, "div", {}, `${whole.format(step)} steps`);
      const met = shown.filter((curve) => step <= curve.steps.at(-1) && step >= curve.steps[0]);
      const values = met.map((curve) => ({ curve, at: nearest(curve.steps, step) }));
      values.sort((a, b) => b.curve.mean[b.at] - a.curve.mean[a.at]);
      for (const { curve, at } of values) {
        const row = element(tip, "div", {});
        element(row, "span", { class: `dot curve-${curve.place}` });
        const bounds = width < 500 ? "" : ` (${whole.format(curve.low[at])} to ${whole.format(curve.high[at])})`;
        element(row, "span", {}, `${curve.name}: ${whole.format(curve.mean[at])}${bounds}`);
      }
      tip.hidden = false;
      const room = figure.clientWidth - tip.offsetWidth;
      tip.style.left = `${Math.max(0, Math.min(room, x(step) < width / 2 ? x(step) + 12 : x(step) - tip.offsetWidth - 12))}px`;
    };
    svg.onpointermove = svg.onpointerdown = follow;
    svg.onpointerleave = () => {
      tip.hidden = true;
      pointer.setAttribute("visibility", "hidden");
    };
  }

  for (const curve of curves) {
    const button = element(legend, "button", { type: "button", "aria-pressed": "true" });
    element(button, "span", { class: `dot curve-${curve.place}` });
    element(button, "span", {}, curve.name);
    button.onclick = () => {
      curve.shown = !curve.shown;
      button.setAttribute("aria-pressed", curve.shown);
      draw();
    };
  }
  new ResizeObserver(draw).observe(figure);
}

document.querySelectorAll("figure.benchmark").forEach(chart);
