/* As assimilation.views.attractor. Dragging and arrow keys turn it, and the sliders follow. */
(function () {
  "use strict";
  var run = [[5, 8, 15]];
  while (run.length < 2501) run.push(views.step(run[run.length - 1]));

  function deviation(values) {
    var mean = values.reduce(function (a, b) { return a + b; }, 0) / values.length;
    return Math.sqrt(values.reduce(function (sum, v) {
      return sum + (v - mean) * (v - mean);
    }, 0) / values.length);
  }

  function handle(plot, change) {
    function turn(by) {
      change("turn", function (v) { return ((v + by + 540) % 360) - 180; });
    }
    function tilt(by) {
      change("tilt", function (v, low, high) { return Math.min(high, Math.max(low, v + by)); });
    }
    plot.setAttribute("tabindex", "0");
    plot.setAttribute("role", "application");
    plot.setAttribute("aria-label", "The attractor. Arrow keys or dragging turn it.");
    plot.classList.add("view-turns");
    plot.addEventListener("keydown", function (event) {
      var moves = { ArrowLeft: [turn, -5], ArrowRight: [turn, 5], ArrowUp: [tilt, 5],
        ArrowDown: [tilt, -5] };
      var move = moves[event.key];
      if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      move[0](move[1]);
    });
    var from = null;
    plot.addEventListener("pointerdown", function (event) {
      from = [event.clientX, event.clientY];
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointermove", function (event) {
      if (!from) return;
      /* Whole steps of the sliders, 5 degrees for 10 pixels; the rest waits for the next event. */
      var across = Math.trunc((event.clientX - from[0]) / 10);
      var up = Math.trunc((from[1] - event.clientY) / 10);
      if (across) turn(5 * across);
      if (up) tilt(5 * up);
      from = [from[0] + 10 * across, from[1] - 10 * up];
    });
    ["pointerup", "pointercancel"].forEach(function (name) {
      plot.addEventListener(name, function () { from = null; });
    });
  }

  views.define("attractor", {
    panels: 1,
    ratio: 0.5,
    label: "A run of Lorenz-63, seen from the direction that the sliders give",
    legend: [["end of the run", "end", "dot"]],
    handle: handle,
    draw: function (values, panels) {
      var shown = run.slice(0, Math.round(100 * values.time) + 1), p = panels[0];
      var a = values.turn * Math.PI / 180, b = values.tilt * Math.PI / 180;
      var across = shown.map(function (s) { return s[0] * Math.cos(a) + s[1] * Math.sin(a); });
      var upwards = shown.map(function (s) {
        return (s[2] - 25) * Math.cos(b) + (s[1] * Math.cos(a) - s[0] * Math.sin(a)) * Math.sin(b);
      });
      var changes = shown.filter(function (s, i) { return i && s[0] * shown[i - 1][0] < 0; }).length;
      /* One scale for both axes, whatever the shape of the panel. */
      var unit = Math.max(66 / p.width, 66 / p.height);
      var x = p.width * unit / 2, y = p.height * unit / 2;
      p.axes([-x, x], [-y, y], "across (state units)", "upwards (state units)");
      p.line(across, upwards, "analysis thin");
      p.dot(across[across.length - 1], upwards[upwards.length - 1], 5, "end");
      return values.time.toFixed(0) + " time units, " + changes +
        " changes of wing. From here its standard deviation is " + deviation(across).toFixed(1) +
        " across and " + deviation(upwards).toFixed(1) + " upwards.";
    }
  });
})();
