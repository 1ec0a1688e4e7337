/* What the views share: rows of sliders, a picture of panels with axes, and a sentence to read.
   A view calls views.define(name, {panels, ratio, label, legend, draw}); draw(values, panels)
   draws and returns the sentence. Colours and dashes are classes of view.css. No dependency. */
(function () {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg";

  function add(parent, tag, attributes, text) {
    var svg = parent.namespaceURI === SVG || tag === "svg";
    var child = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (key) {
      child.setAttribute(key, attributes[key]);
    });
    if (text !== undefined) child.textContent = text;
    return parent.appendChild(child);
  }

  function ticks(low, high, most) {
    var rough = (high - low) / most;
    var power = Math.pow(10, Math.floor(Math.log(rough) / Math.LN10));
    var step = [1, 2, 5, 10].map(function (n) { return n * power; })
      .filter(function (s) { return s >= rough * 0.999; })[0];
    var digits = Math.max(0, -Math.floor(Math.log(step) / Math.LN10 + 1e-9));
    var found = [];
    for (var n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) {
      found.push({ at: n * step, text: (n * step).toFixed(digits).replace("-", "−") });
    }
    return found;
  }

  /* One pair of axes in `box`, {left, top, width, height} of the inner rectangle in pixels. */
  function panel(svg, box) {
    var inner, x, y;
    function px(v) { return (v - x[0]) / (x[1] - x[0]) * box.width; }
    function py(v) { return (1 - (v - y[0]) / (y[1] - y[0])) * box.height; }
    function segment(x1, y1, x2, y2, look) {
      add(inner, "line", { x1: x1, y1: y1, x2: x2, y2: y2, "class": look });
    }
    return {
      width: box.width,
      height: box.height,
      axes: function (xRange, yRange, xLabel, yLabel) {
        x = xRange;
        y = yRange;
        var outer = add(svg, "g", { transform: "translate(" + box.left + "," + box.top + ")" });
        ticks(x[0], x[1], box.width / 60).forEach(function (t) {
          add(outer, "line", { x1: px(t.at), x2: px(t.at), y1: 0, y2: box.height, "class": "grid" });
          add(outer, "text", { x: px(t.at), y: box.height + 17, "class": "x" }, t.text);
        });
        ticks(y[0], y[1], box.height / 40).forEach(function (t) {
          add(outer, "line", { x1: 0, x2: box.width, y1: py(t.at), y2: py(t.at), "class": "grid" });
          add(outer, "text", { x: -6, y: py(t.at) + 4, "class": "y" }, t.text);
        });
        add(outer, "rect", { width: box.width, height: box.height, "class": "frame" });
        add(outer, "text", { x: box.width / 2, y: box.height + 36, "class": "x" }, xLabel);
        add(outer, "text", { x: 0, y: -8, "class": "name" }, yLabel);
        /* What reaches out of an svg inside an svg is cut off. */
        inner = add(outer, "svg", { width: box.width, height: box.height });
      },
      line: function (xs, ys, look) {
        var d = xs.map(function (v, i) {
          return (i ? "L" : "M") + px(v).toFixed(1) + " " + py(ys[i]).toFixed(1);
        }).join("");
        add(inner, "path", { d: d, "class": look });
      },
      bars: function (xs, ys, look) {
        xs.forEach(function (v, i) {
          var top = py(ys[i]);
          add(inner, "rect", { x: px(v - 0.4), y: top, width: px(v + 0.4) - px(v - 0.4),
            height: box.height - top, "class": look });
        });
      },
      band: function (low, high, look) {
        add(inner, "rect", { x: 0, y: py(high), width: box.width, height: py(low) - py(high),
          "class": look });
      },
      across: function (at, look) { segment(0, py(at), box.width, py(at), look); },
      upright: function (at, look) { segment(px(at), 0, px(at), box.height, look); },
      dot: function (u, v, size, look) {
        add(inner, "circle", { cx: px(u), cy: py(v), r: size, "class": look });
      },
      square: function (u, v, size, look) {
        add(inner, "rect", { x: px(u) - size, y: py(v) - size, width: 2 * size, height: 2 * size,
          "class": look });
      }
    };
  }

  /* Panels side by side, or one below the other on a phone. */
  function boxes(width, count, ratio) {
    var columns = width < 560 ? 1 : count;
    var cell = width / columns;
    var height = Math.max(220, ratio * cell);
    var found = [];
    for (var i = 0; i < count; i++) {
      found.push({ left: (i % columns) * cell + 46, top: Math.floor(i / columns) * (height + 70) + 26,
        width: cell - 60, height: height });
    }
    return { boxes: found, height: Math.ceil(count / columns) * (height + 70) };
  }

  function build(place, view) {
    var sliders = JSON.parse(place.getAttribute("data-sliders"));
    var name = place.getAttribute("data-view");
    var plot = add(place, "div", { "class": "view-plot" });
    var svg = add(plot, "svg", { role: "img", "aria-label": view.label });
    var legend = add(place, "ul", { "class": "view-legend" });
    (view.legend || []).forEach(function (entry) {
      var item = add(legend, "li");
      var key = add(item, "svg", { width: 30, height: 12, "aria-hidden": "true" });
      if (entry[2] === "dot") add(key, "circle", { cx: 15, cy: 6, r: 4, "class": entry[1] });
      else if (entry[2] === "square") {
        add(key, "rect", { x: 10, y: 1, width: 10, height: 10, "class": entry[1] });
      } else add(key, "line", { x1: 0, x2: 30, y1: 6, y2: 6, "class": entry[1] });
      item.appendChild(document.createTextNode(entry[0]));
    });
    var rows = add(place, "div", { "class": "view-sliders" });
    var said = add(place, "p", { "class": "view-said", "aria-live": "polite" });
    var width = 0;

    function draw() {
      width = plot.clientWidth;
      if (!width) return;
      var layout = boxes(width, view.panels, view.ratio);
      while (svg.firstChild) svg.removeChild(svg.firstChild);
      svg.setAttribute("width", width);
      svg.setAttribute("height", layout.height);
      var values = {};
      sliders.forEach(function (one) { values[one.name] = one.value; });
      var sentence = view.draw(values, layout.boxes.map(function (box) { return panel(svg, box); }));
      if (said.textContent !== sentence) said.textContent = sentence;
    }

    function show(one) {
      var digits = one.step < 1 ? 1 : 0;
      var text = one.value.toFixed(digits) + (one.unit ? " " + one.unit : "");
      one.input.value = one.value;
      one.input.setAttribute("aria-valuetext", text);
      one.output.textContent = text;
    }

    sliders.forEach(function (one) {
      var id = "view-" + name + "-" + one.name;
      var row = add(rows, "div", { "class": "view-row" });
      add(row, "label", { "for": id }, one.label);
      one.input = add(row, "input", { type: "range", id: id, min: one.low, max: one.high,
        step: one.step });
      /* The slider says its value itself; the sentence is what else is to be heard. */
      one.output = add(row, "output", { "for": id, "aria-live": "off" });
      one.first = one.value;
      one.input.addEventListener("input", function () {
        one.value = parseFloat(one.input.value);
        show(one);
        draw();
      });
      show(one);
    });
    var reset = add(rows, "button", { type: "button", "class": "view-reset" }, "Reset");
    reset.addEventListener("click", function () {
      sliders.forEach(function (one) { one.value = one.first; show(one); });
      draw();
    });

    place.hidden = false;
    if (view.handle) {
      view.handle(plot, function (name, change) {
        sliders.forEach(function (one) {
          if (one.name !== name) return;
          one.value = change(one.value, one.low, one.high);
          show(one);
        });
        draw();
      });
    }
    new ResizeObserver(function () { if (plot.clientWidth !== width) draw(); }).observe(plot);
    draw();
  }

  function range(low, high, count) {
    var found = [];
    for (var i = 0; i < count; i++) found.push(low + (high - low) * i / (count - 1));
    return found;
  }

  window.views = {
    define: function (name, view) {
      document.querySelectorAll('.view[data-view="' + name + '"]').forEach(function (place) {
        build(place, view);
      });
    },
    range: range,
    bell: function (x, mean, variance) {
      return Math.exp(-(x - mean) * (x - mean) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
    },
    /* One RK4 step of Lorenz-63, in the same order of operations as assimilation.views. */
    step: function (state) {
      var dt = 0.01;
      function slope(s) {
        return [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]];
      }
      function plus(s, factor, k) {
        return [s[0] + factor * k[0], s[1] + factor * k[1], s[2] + factor * k[2]];
      }
      var a = slope(state), b = slope(plus(state, dt / 2, a));
      var c = slope(plus(state, dt / 2, b)), d = slope(plus(state, dt, c));
      return [0, 1, 2].map(function (i) {
        return state[i] + dt / 6 * (a[i] + 2 * b[i] + 2 * c[i] + d[i]);
      });
    }
  };
})();
