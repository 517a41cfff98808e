// Draws what [data-chart] names: the JSON beside it, by uPlot. The same numbers stand below it as a table.
(() => {
  const COLOURS = ["blue", "teal", "orange", "purple", "lime", "pink", "cyan", "red", "indigo", "yellow", "green", "azure"];
  const HEIGHT = 190;
  const DAY_S = 86400;
  const POWERS_OF_TWO = Array.from({ length: 30 }, (_each, power) => 2 ** (power + 16));
  const plots = new Map(); // place -> {text, plots}

  // A canvas takes no variables, and a variable may hold another one: let the browser work it out.
  const probe = document.createElement("span");
  function colour(name) {
    if (!probe.isConnected) {
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(--tblr-${name})`;
    return getComputedStyle(probe).color;
  }
  const pad = (number) => String(number).padStart(2, "0");

  // ---- numbers and times as people read them ----------------------------------------------------------------------

  function amount(value, unit) {
    if (value == null) return "–";
    if (unit === "bytes") {
      const [size, name, places] = [[2 ** 30, "GiB", 1], [2 ** 20, "MiB", 0], [1024, "KiB", 0]].find(([each]) => value >= each) ?? [1, "B", 0];
      return `${(value / size).toFixed(places)} ${name}`;
    }
    const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 1 ? 1 : 2;
    return `${value.toLocaleString("en-GB", { maximumFractionDigits: digits })} ${unit}`;
  }

  function tick(value, unit) {
    if (value == null) return "";
    if (unit === "bytes") return amount(value, unit);
    return value.toLocaleString("en-GB", { notation: "compact", maximumSignificantDigits: 3 });
  }

  // While nobody points at a moment: the newest value of a line, all of a stack.
  function atRest(values, isStacked) {
    if (isStacked) return values.reduce((sum, value) => sum + (value ?? 0), 0);
    return values.findLast((value) => value != null);
  }

  function legend(chart, place, isStacked) {
    const { values } = chart.series[place];
    return (_plot, _value, _series, index) => amount(index == null ? atRest(values, isStacked) : values[index], chart.unit);
  }

  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

  // Reports are about days in UTC and say so; what happens now is shown in the time of the person's clock.
  function moment(seconds, chart, isUtc) {
    const local = new Date(seconds * 1000);
    const date = isUtc ? new Date(local.getTime() + local.getTimezoneOffset() * 60000) : local;
    const day = `${MONTHS[date.getMonth()]} ${date.getDate()}`;
    const time = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
    if (chart.step_s >= DAY_S) return day;
    return chart.at.at(-1) - chart.at[0] > 2 * DAY_S ? `${day} ${time}` : time;
  }

  // ---- one chart --------------------------------------------------------------------------------------------------

  function stacked(series) {
    const sums = [];
    for (const { values } of series) {
      const below = sums.at(-1);
      sums.push(values.map((value, place) => value + (below ? below[place] : 0)));
    }
    return sums;
  }

  function options(chart, isStacked, width) {
    const text = colour("body-color");
    const grid = { stroke: colour("border-color"), width: 1 };
    const label = chart.unit === "bytes" ? undefined : chart.unit;
    const lines = chart.series.map(({ label: name }, place) => {
      const stroke = colour(name === "failed" ? "red" : COLOURS[place % COLOURS.length]);
      return {
        label: name,
        stroke,
        width: isStacked ? 0 : 1.5,
        fill: isStacked ? stroke : undefined,
        paths: isStacked ? window.uPlot.paths.bars({ size: [0.7, 40] }) : undefined,
        points: { show: isStacked ? false : undefined },
        value: legend(chart, place, isStacked),
      };
    });
    const shown = isStacked ? lines.reverse() : lines; // the tallest bar is drawn first, the others over it
    return {
      width,
      height: HEIGHT,
      cursor: { y: false, drag: { x: false, y: false } },
      legend: { live: true, isolate: false },
      scales: {
        x: { time: true, range: isStacked ? (_plot, low, high) => [low - chart.step_s / 2, high + chart.step_s / 2] : undefined },
        y: { range: (_plot, _low, high) => [0, chart.most ?? Math.max(high * 1.1, chart.unit === "bytes" ? 2 ** 20 : 0.1)] },
      },
      axes: [
        { stroke: text, grid: { show: false }, ticks: grid, values: (_plot, splits) => splits.map((at) => moment(at, chart, isStacked)), space: 70 },
        { stroke: text, grid, ticks: grid, size: 70, label, labelSize: 18, labelGap: 0, incrs: chart.unit === "bytes" ? POWERS_OF_TWO : undefined, values: (_plot, splits) => splits.map((value) => tick(value, chart.unit)) },
      ],
      series: [{ label: chart.step_s >= DAY_S ? "Day" : "Time", value: (_plot, at) => (at == null ? (isStacked ? "all" : "newest") : moment(at, chart, isStacked)) }, ...shown],
    };
  }

  function columns(chart, isStacked) {
    const values = isStacked ? stacked(chart.series).reverse() : chart.series.map((series) => series.values);
    return [chart.at, ...values];
  }

  // ---- all charts of a place --------------------------------------------------------------------------------------

  function shape(data) {
    return data.charts.map((chart) => [chart.title, chart.most, chart.step_s, chart.series.map(({ label }) => label)]);
  }

  function draw(place) {
    const source = document.getElementById(place.dataset.chart);
    if (!source || !window.uPlot || place.clientWidth === 0) return;
    const text = source.textContent;
    const known = plots.get(place);
    const isThere = known && place.querySelector(".uplot");
    if (isThere && known.text === text) return;
    const data = JSON.parse(text);
    known?.plots.forEach((plot) => plot.destroy());
    place.replaceChildren();
    const isStacked = data.kind === "stacked";
    const made = data.charts.map((chart) => {
      const box = document.createElement("div");
      box.className = isStacked ? "" : "chart";
      const title = document.createElement("h3");
      title.textContent = chart.title;
      box.append(title);
      place.append(box);
      return new window.uPlot(options(chart, isStacked, box.clientWidth), columns(chart, isStacked), box);
    });
    plots.set(place, { text, plots: made, shape: JSON.stringify(shape(data)) });
    sizes.observe(place);
  }

  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      for (const plot of plots.get(target)?.plots ?? []) {
        const width = plot.root.parentElement?.clientWidth; // none while a swap takes the chart away
        if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
      }
    }
  });

  function drawAll() {
    for (const place of plots.keys()) {
      if (!place.isConnected) {
        plots.get(place).plots.forEach((plot) => plot.destroy());
        sizes.unobserve(place);
        plots.delete(place);
      }
    }
    document.querySelectorAll("[data-chart]").forEach(draw);
  }

  // ---- newer numbers, while somebody looks ------------------------------------------------------------------------

  const asked = new WeakMap(); // part -> when

  function isSeen(part) {
    const box = part.getBoundingClientRect();
    return !document.hidden && box.bottom > 0 && box.top < window.innerHeight;
  }

  async function renew(part) {
    asked.set(part, Date.now());
    let reply;
    try {
      reply = await fetch(part.dataset.chartUrl, { headers: { "HX-Request": "true" } });
    } catch {
      return; // the line at the top of the page says that the site does not answer
    }
    if (!reply.ok || !part.isConnected) return;
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").getElementById(part.id);
    const place = part.querySelector("[data-chart]");
    const source = place && fresh?.querySelector("script[type='application/json']");
    if (!source) {
      if (fresh?.querySelector("[data-chart]")) part.replaceWith(fresh); // the first numbers have come
      drawAll();
      return;
    }
    part.querySelector("script[type='application/json']").textContent = source.textContent;
    renewTables(part, fresh);
    const data = JSON.parse(source.textContent);
    const known = plots.get(place);
    if (!known || known.shape !== JSON.stringify(shape(data))) {
      draw(place);
      return;
    }
    known.text = source.textContent;
    known.plots.forEach((plot, number) => replace(plot, data.charts[number]));
  }

  // In place: the cursor stays where it is, and nothing flickers.
  function replace(plot, chart) {
    plot.setData(columns(chart, false));
    plot.series.slice(1).forEach((series, place) => {
      series.value = legend(chart, place, false);
    });
  }

  function renewTables(part, fresh) {
    const bodies = fresh.querySelectorAll(".chart-numbers tbody");
    part.querySelectorAll(".chart-numbers tbody").forEach((body, number) => {
      if (bodies[number]) body.replaceWith(bodies[number]);
    });
  }

  setInterval(() => {
    for (const part of document.querySelectorAll("[data-chart-url]")) {
      if (!asked.has(part)) asked.set(part, Date.now());
      const isDue = Date.now() - asked.get(part) >= Number(part.dataset.chartEvery) * 1000;
      if (isDue && isSeen(part)) renew(part);
    }
  }, 1000);

  // ---- when to draw -----------------------------------------------------------------------------------------------

  document.addEventListener("htmx:after:swap", drawAll);
  document.addEventListener("htmx:after:settle", drawAll);
  document.addEventListener("DOMContentLoaded", drawAll);
  new MutationObserver(() => {
    for (const known of plots.values()) known.text = ""; // other colours: draw anew
    drawAll();
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
  if (document.readyState !== "loading") drawAll();
})();
