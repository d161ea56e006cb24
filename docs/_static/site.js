/* A live explorer's frame is as high as what it shows. (A page opened as a file may not ask.) */
for (const frame of document.querySelectorAll("iframe.live")) {
  const fit = () => {
    const page = frame.contentDocument?.documentElement;
    if (!page?.querySelector("main")) return;
    const measure = () => (frame.style.height = `${page.querySelector("main").offsetHeight + 64}px`);
    new ResizeObserver(measure).observe(page.querySelector("main"));
    measure();
  };
  frame.addEventListener("load", fit);
  fit();
}

/* The theme's fold-out of the menu has a symbol and no name. */
for (const summary of document.querySelectorAll("summary:not([aria-label])"))
  if (!summary.textContent.trim()) summary.setAttribute("aria-label", "Show or hide the pages below");
