// The theme lets the keyboard reach what scrolls in its own box, but looks for it only when the
// window changes its size: not when a reader unfolds code or a solution.
for (const unfolds of ["toggle", "click"]) {
  document.addEventListener(unfolds, () => dispatchEvent(new Event("resize")), true);
}
