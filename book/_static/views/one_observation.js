/* As assimilation.views.one_observation. */
views.define("one_observation", {
  panels: 2,
  ratio: 0.6,
  label: "The gain of one observation at each site of a ring, and the error before and after",
  legend: [["observed site", "observation"], ["background: before", "background"],
    ["analysis: gain, and after", "analysis"]],
  draw: function (values, panels) {
    "use strict";
    var K = 40, at = values.site, sites = views.range(0, K - 1, K);
    var scale = 2 * Math.PI * values.length / K;
    var correlation = sites.map(function (j) {
      return Math.exp((Math.cos(2 * Math.PI / K * (j - at)) - 1) / (scale * scale));
    });
    var gain = correlation.map(function (c) {
      return c / (1 + values.error_ratio * values.error_ratio);
    });
    var variance = gain.map(function (g, j) { return 1 - g * correlation[j]; });
    panels[0].axes([0, K - 1], [0, 1.02], "site", "gain");
    panels[1].axes([0, K - 1], [0, 1.1], "site", "standard deviation of the error");
    panels.forEach(function (p) { p.upright(at, "observation"); });
    panels[0].line(sites, gain, "analysis");
    sites.forEach(function (j) { panels[0].dot(j, gain[j], 2.5, "analysis-dot"); });
    panels[1].across(1, "background");
    panels[1].line(sites, variance.map(Math.sqrt), "analysis");
    return "Gain at site " + at + ": " + gain[at].toFixed(2) + "; above 0.1 at " +
      gain.filter(function (g) { return g > 0.1; }).length + " of " + K +
      " sites. The error variance there falls from 1 to " + variance[at].toFixed(2) +
      ", summed over the ring from " + K + " to " +
      variance.reduce(function (a, b) { return a + b; }, 0).toFixed(1) + ".";
  }
});
