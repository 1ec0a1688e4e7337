/* As assimilation.views.rank_histogram: expected shares, by summing over values of the truth. */
(function () {
  "use strict";
  var MEMBERS = 16;
  var flat = 1 / (MEMBERS + 1);

  /* The normal distribution function, to 1e-7: erfc by the rational Chebyshev fit of Press et al. */
  var FIT = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398,
    1.48851587, -0.82215223, 0.17087277];
  function normal(x) {
    var z = Math.abs(x) / Math.SQRT2, t = 1 / (1 + z / 2);
    var sum = FIT.reduceRight(function (rest, c) { return c + t * rest; }, 0);
    var tail = t * Math.exp(sum - z * z) / 2;
    return x > 0 ? 1 - tail : tail;
  }

  function shares(spread, bias) {
    var truth = views.range(-8, 8, 1601), found = [], ways = 1;
    var below = truth.map(function (t) { return normal((t - bias) / spread); });
    var weight = truth.map(function (t) { return 0.01 * views.bell(t, 0, 1); });
    for (var k = 0; k <= MEMBERS; k++) {
      found.push(ways * below.reduce(function (sum, p, i) {
        return sum + Math.pow(p, k) * Math.pow(1 - p, MEMBERS - k) * weight[i];
      }, 0));
      ways = ways * (MEMBERS - k) / (k + 1);
    }
    return found;
  }

  views.define("rank_histogram", {
    panels: 2,
    ratio: 0.6,
    label: "Where truth and members lie, and the rank histogram that follows",
    legend: [["truth", "background"], ["members", "analysis"], ["flat, with the band of chance",
      "observation"]],
    draw: function (values, panels) {
      var found = shares(values.spread, values.bias);
      var chance = 1.96 * Math.sqrt(flat * (1 - flat) / values.cases);
      var x = views.range(-5, 5, 401), ranks = views.range(0, MEMBERS, MEMBERS + 1);
      var variance = values.spread * values.spread;
      var top = Math.max(views.bell(0, 0, 1), views.bell(0, 0, variance));
      panels[0].axes([-5, 5], [0, 1.08 * top], "value (right spreads)", "density");
      panels[0].line(x, x.map(function (v) { return views.bell(v, 0, 1); }), "background");
      panels[0].line(x, x.map(function (v) { return views.bell(v, values.bias, variance); }),
        "analysis");
      panels[1].axes([-0.7, MEMBERS + 0.7], [0, 1.08 * Math.max(2 * flat, Math.max.apply(null, found))],
        "members below the truth", "share of cases");
      panels[1].bars(ranks, found, "analysis-bar");
      panels[1].band(flat - chance, flat + chance, "chance");
      panels[1].across(flat, "observation");
      return "The truth lies outside all " + MEMBERS + " members in " +
        (100 * (found[0] + found[MEMBERS])).toFixed(1) + " % of cases; " + (200 * flat).toFixed(1) +
        " % is right. With " + values.cases.toFixed(0) + " cases, " +
        found.filter(function (s) { return Math.abs(s - flat) > chance; }).length + " of " +
        (MEMBERS + 1) + " bars stand out from chance.";
    }
  });
})();
