/* As assimilation.views.cost_landscape: Lorenz-63 from every point of a line through the truth. */
(function () {
  "use strict";
  var LINE = views.range(-8, 8, 4001);
  var EVERY = 20;
  var costs; // [window][position], computed at the first drawing

  function compute() {
    var truth = [5, 8, 15];
    var states = LINE.map(function (s) { return [truth[0] + s, truth[1], truth[2]]; });
    var total = LINE.map(function () { return 0; });
    costs = [];
    for (var step = 0; step <= 30 * EVERY; step++) {
      if (step) {
        truth = views.step(truth);
        for (var i = 0; i < states.length; i++) states[i] = views.step(states[i]);
      }
      if (step % EVERY === 0) {
        total = total.map(function (sum, at) {
          var a = states[at][0] - truth[0], b = states[at][1] - truth[1];
          var c = states[at][2] - truth[2];
          return sum + 2 * (a * a + b * b + c * c);
        });
        costs.push(total);
      }
    }
  }

  /* How far one must climb from a valley before one can go lower, on the easier side. */
  function depth(cost, at) {
    return Math.min.apply(null, [-1, 1].map(function (way) {
      var ridge = cost[at];
      for (var i = at + way; i >= 0 && i < cost.length && cost[i] >= cost[at]; i += way) {
        ridge = Math.max(ridge, cost[i]);
      }
      return ridge - cost[at];
    }));
  }

  function downhill(cost, at) {
    for (;;) {
      if (at > 0 && cost[at - 1] < cost[at] && !(cost[at + 1] < cost[at - 1])) at -= 1;
      else if (at + 1 < cost.length && cost[at + 1] < cost[at]) at += 1;
      else return at;
    }
  }

  views.define("cost_landscape", {
    panels: 1,
    ratio: 0.42,
    label: "The cost along a line through the truth",
    legend: [["valleys", "valley", "dot"], ["start of the search", "start", "square"],
      ["its end", "end", "square"], ["truth", "truth"]],
    draw: function (values, panels) {
      if (!costs) compute();
      var row = Math.round(values.window / 0.2), cost = costs[row], p = panels[0];
      var height = cost.map(function (c) { return 2 * c / (3 * (row + 1)); });
      var valleys = [];
      for (var i = 1; i + 1 < cost.length; i++) {
        if (cost[i] < cost[i - 1] && cost[i] < cost[i + 1] && depth(cost, i) >= 1) valleys.push(i);
      }
      var first = Math.round((values.start + 8) * 250), end = downhill(cost, first);
      p.axes([-8, 8], [0, 1.05 * Math.max.apply(null, height)],
        "error of x at the start, s (state units)", "2J/n (no units)");
      p.upright(0, "truth");
      p.line(LINE, height, "analysis thin");
      valleys.forEach(function (at) { p.dot(LINE[at], height[at], 3, "valley"); });
      p.square(LINE[first], height[first], 5, "start");
      p.square(LINE[end], height[end], 5, "end");
      return "Window of " + values.window.toFixed(1) + " time units: " + valleys.length +
        (valleys.length === 1 ? " valley" : " valleys") + ". From s = " + values.start.toFixed(1) +
        " the search ends at " + (Math.abs(LINE[end]) < 0.01 ? "the truth" :
          "s = " + LINE[end].toFixed(2) + ", not at the truth") + ".";
    }
  });
})();
