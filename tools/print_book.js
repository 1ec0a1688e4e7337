// Puts the pages of the book one after another into the page that is open, ready for print.
// tools/print_book.py calls these in a browser: the root page is open, and its scripts are there.

const book = { pages: [], solutions: null };

// An anchor of a page, as one of the whole book.
const anchor = (page, id = "") => `${page.replace(/\W/g, "-")}--${id}`;

// What a link of a page leads to: a place in the book, another site, or nothing that can be printed.
function target(page, link) {
  const address = new URL(link, new URL(page, book.base));
  if (!address.href.startsWith(book.base)) return address.href;
  const known = address.pathname.slice(new URL(book.base).pathname.length);
  return book.pages.includes(known) ? `#${anchor(known, address.hash.slice(1))}` : null;
}

function start(root) {
  book.base = location.href.slice(0, -root.length);
  const contents = document.querySelector("nav.bd-links").cloneNode(true);
  const links = [...contents.querySelectorAll("a.reference")];
  const page = (link) => new URL(link.getAttribute("href"), location.href).href.split("#")[0];
  book.pages = links.map((link) => page(link).slice(book.base.length));
  for (const link of links) link.href = `#${anchor(page(link).slice(book.base.length))}`;
  // What opens and closes a part of the sidebar has nothing to do on paper.
  contents.querySelectorAll("details, label, input, button").forEach((node) => node.remove());
  const footer = document.querySelector("footer.bd-footer-content")?.textContent ?? "";
  const title = document.querySelector("h1").firstChild.textContent;
  document.title = title;
  document.body.className = "print-book";
  document.body.innerHTML = `<main class="bd-content"><article class="bd-article">
    <section class="print-title"><p class="print-name"></p><p class="print-author"></p></section>
    <section class="print-page print-contents"><h1>Contents</h1></section>
    <section class="print-page print-solutions"><h1>Solutions</h1></section></article></main>`;
  document.querySelector(".print-name").textContent = title;
  document.querySelector(".print-author").textContent = footer.replace(/\s+/g, " ").trim();
  document.querySelector(".print-contents").append(contents);
  book.solutions = document.querySelector(".print-solutions");
  return book.pages;
}

function add(page, html) {
  const read = new DOMParser().parseFromString(html, "text/html");
  const section = document.createElement("section");
  section.className = "print-page";
  section.id = anchor(page);
  section.append(...read.querySelector("article.bd-article").childNodes);
  // A picture that stands in for scripts is what can be printed.
  section.querySelectorAll("noscript").forEach((node) => node.replaceWith(...node.childNodes));
  const gone = "script, style, details.hide, .headerlink, .chapter-links, .copybtn, .prev-next-area";
  section.querySelectorAll(gone).forEach((node) => node.remove());
  for (const node of section.querySelectorAll("[id]")) node.id = anchor(page, node.id);
  for (const node of section.querySelectorAll("[src]"))
    node.src = new URL(node.getAttribute("src"), new URL(page, book.base)).href;
  for (const link of section.querySelectorAll("a[href]")) {
    const found = target(page, link.getAttribute("href"));
    if (found) link.href = found;
    else link.replaceWith(...link.childNodes);
  }
  const solutions = [...section.querySelectorAll(".solution")];
  if (solutions.length) {
    const title = document.createElement("h2");
    title.textContent = section.querySelector("h1").textContent;
    book.solutions.append(title, ...solutions);
  }
  book.solutions.before(section);
}

async function finish() {
  if (!book.solutions.querySelector(".solution")) book.solutions.remove();
  if (window.MathJax?.startup) {
    await MathJax.startup.promise;
    await MathJax.typesetPromise([document.querySelector("article.bd-article")]);
  }
  await document.fonts.ready;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  return [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src);
}
