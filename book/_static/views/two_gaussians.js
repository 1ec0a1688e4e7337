/* As assimilation.views.two_gaussians. */
views.define("two_gaussians", {
  panels: 1,
  ratio: 0.4,
  label: "Bell curves of the forecast, of the thermometer and of their product",
  legend: [["background", "background"], ["observation", "observation"], ["analysis", "analysis"]],
  draw: function (values, panels) {
    "use strict";
    var B = values.background_variance, R = values.observation_variance;
    var gain = B / (B + R);
    var mean = 10 + gain * values.distance, variance = (1 - gain) * B;
    var x = views.range(-5, 25, 601), p = panels[0];
    p.axes([-5, 25], [0, 1.08 * views.bell(0, 0, variance)], "temperature (°C)", "density (1/°C)");
    [["background", 10, B], ["observation", 10 + values.distance, R],
      ["analysis", mean, variance]].forEach(function (one) {
      p.line(x, x.map(function (v) { return views.bell(v, one[1], one[2]); }), one[0]);
    });
    return "Gain " + gain.toFixed(2) + ", analysis " + mean.toFixed(1) +
      " °C, variance of its error " + variance.toFixed(2) + " °C².";
  }
});
