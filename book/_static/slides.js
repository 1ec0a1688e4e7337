// Slides of a chapter: the show itself, and text that always fits its slide.
window.MathJax = {
  options: { enableMenu: false, processHtmlClass: "math", ignoreHtmlClass: "reveal" },
};

// Type is as large as the slide allows. Equations shrink first, each on its own.
function fit() {
  for (const math of document.querySelectorAll("div.math mjx-container")) {
    math.style.fontSize = "";
    const room = math.clientWidth / math.scrollWidth;
    if (room < 1) math.style.fontSize = `${Math.floor(98 * room)}%`;
  }
  for (const body of document.querySelectorAll("section:not(.figure) > .body")) {
    body.style.fontSize = "";
    for (let size = 98; size >= 50; size -= 2) {
      if (body.scrollHeight <= body.clientHeight && body.scrollWidth <= body.clientWidth) break;
      body.style.fontSize = `${size}%`;
    }
  }
}

document.addEventListener("DOMContentLoaded", async () => {
  Reveal.on("pdf-ready", fit);
  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0.02,
    center: false,
    hash: true,
    slideNumber: "c/t",
    transition: "none",
    display: "flex",
    viewDistance: 1000, // all slides are laid out at once, so all can be measured
    mobileViewDistance: 1000,
  });
  await MathJax.startup.promise;
  await document.fonts.ready;
  fit();
  document.documentElement.dataset.ready = "";
});
