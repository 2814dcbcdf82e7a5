
/* Links between the summaries and the paper, both ways.

   The page works without this script: sources and marks are links. With it, what belongs
   together lights up under the pointer and with the focus, and the keyboard walks from
   source to source. Everything is read from the page itself. */
"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const targetOf = (link) => get(decodeURIComponent(link.hash.slice(1)));
  const bar = get("bar");
  const status = get("status");
  const back = get("back");

  // summary sentence -> [{element, share}] and sentence of the paper -> [{element, share}]
  const partners = new Map();
  for (const summary of document.querySelectorAll(".sum")) {
    const sources = [...summary.querySelectorAll(".source")];
    partners.set(
      summary,
      sources.map((link) => ({ element: targetOf(link), share: link.dataset.share })),
    );
    if (sources.length) summary.classList.add("live");
  }
  const linked = [...document.querySelectorAll(".s.linked")];
  for (const sentence of linked) {
    const marks = [...sentence.querySelectorAll(".mark")];
    partners.set(
      sentence,
      marks.map((link) => ({ element: targetOf(link), share: link.dataset.share })),
    );
    sentence.tabIndex = -1; // to be focused by this script
  }
  const codeOf = (summary) => summary.querySelector(".code").textContent;
  const isSummary = (element) => element.classList.contains("sum");

  // A document's words among ours; what they do to the direction of text ends with them.
  const isolate = (text) => `\u2068${text}\u2069`;

  const describe = (element) => {
    if (isSummary(element)) {
      const sources = [...element.querySelectorAll(".source")];
      if (!sources.length) return "";
      const words = sources.map((link) => {
        const [where, place] = link.querySelectorAll(".where, .place");
        return `${link.dataset.share} ${isolate(where.textContent)} ${place.textContent}`;
      });
      return `${codeOf(element)} drew on ${words.join(", ")}`;
    }
    const section = element.closest(".section");
    const paragraph = element.closest(".p");
    const where = [section, paragraph]
      .filter(Boolean)
      .map((part) => `${isolate(part.dataset.name)} ${part.dataset.percent}`)
      .join(", ");
    const own = element.classList.contains("unread")
      ? "This sentence was not read"
      : `This sentence has ${element.dataset.percent} of the importance`;
    const users = partners.get(element) ?? [];
    const marks = users.map(({ element, share }) => `${codeOf(element)} (${share})`);
    return `${own} (${where}).` + (marks.length ? ` Drawn on by ${marks.join(", ")}.` : "");
  };

  // ---------------------------------------------------------------- lighting up

  // What is under the pointer comes first, then what has the focus, then what was clicked.
  let hovered = null;
  let focused = null;
  let pinned = null;
  // The way that led into the paper: from which summary sentence, to which of its sources.
  let origin = null;
  let step = 0;

  const light = (element, share) => {
    element.classList.add("lit");
    if (share && !isSummary(element)) element.dataset.lit = share;
  };

  const tick = (sentence) => {
    const rect = document.createElementNS(get("ticks").namespaceURI, "rect");
    rect.setAttribute("class", "tick");
    rect.setAttribute("x", String(Math.max(0, Number(sentence.dataset.x) - 2)));
    rect.setAttribute("width", "4");
    rect.setAttribute("height", "100");
    get("ticks").append(rect);
  };

  const update = () => {
    for (const element of document.querySelectorAll(".lit, .at, .tab[data-lit]")) {
      element.classList.remove("lit", "at");
      delete element.dataset.lit;
    }
    get("ticks").replaceChildren();
    const current = hovered ?? (origin && focused && !isSummary(focused) ? origin : focused) ?? pinned;
    back.hidden = !origin;
    const text = current ? describe(current) : "";
    if (status.textContent !== text) status.textContent = text;
    bar.classList.toggle("on", Boolean(text) || Boolean(origin));
    if (!current) return;

    const found = partners.get(current) ?? [];
    if (found.length) light(current);
    for (const { element, share } of found) light(element, share);
    for (const sentence of isSummary(current) ? found.map((p) => p.element) : [current]) tick(sentence);
    if (origin && current === origin) partners.get(origin)[step].element.classList.add("at");

    // A tab tells that it hides something of this.
    const hidden = new Map();
    for (const { element } of found) {
      const panel = element.closest("[role=tabpanel]");
      if (panel?.hidden) hidden.set(panel, [...(hidden.get(panel) ?? []), codeOf(element)]);
    }
    for (const [panel, codes] of hidden)
      get(panel.getAttribute("aria-labelledby")).dataset.lit = codes.join(" ");
  };

  // -------------------------------------------------------------------- walking

  const isCalm = matchMedia("(prefers-reduced-motion: reduce)");
  const scrollTo = (element, block) =>
    element.scrollIntoView({ block, behavior: isCalm.matches ? "auto" : "smooth" });

  const goToSource = (summary, index) => {
    const found = partners.get(summary) ?? [];
    if (!found.length) return;
    origin = pinned = summary;
    step = (index + found.length) % found.length;
    hovered = null;
    const { element } = found[step];
    element.focus({ preventScroll: true });
    scrollTo(element, "center");
    update();
  };

  const goToSummary = (summary) => {
    origin = hovered = null;
    pinned = summary;
    window.htmtlReveal(summary);
    (summary.querySelector("a.code") ?? summary).focus({ preventScroll: true });
    scrollTo(summary, "nearest");
    update();
  };

  const goToNextLinked = (sentence, by) => {
    const at = linked.indexOf(sentence);
    const next = linked[(at + by + linked.length) % linked.length];
    next.focus({ preventScroll: true });
    scrollTo(next, "center");
  };

  const find = (node) => node?.closest?.(".sum, .s") ?? null;

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return; // a finger does not hover; it clicks
    const found = find(event.target);
    if (found === hovered) return;
    hovered = found;
    update();
  });
  document.documentElement.addEventListener("pointerleave", () => {
    hovered = null;
    update();
  });
  document.addEventListener("focusin", (event) => {
    focused = find(event.target);
    // Elsewhere in the paper or on the page, the way that led here is over.
    const isOnTheWay = focused && !isSummary(focused) && origin
      && partners.get(origin)[step].element === focused;
    if (!isOnTheWay && event.target !== back) origin = null;
    update();
  });
  document.addEventListener("focusout", () => {
    focused = null;
    update();
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    const element = find(event.target);
    if (link?.matches(".source, .mark, a.code")) {
      event.preventDefault();
      if (link.matches(".mark")) goToSummary(targetOf(link));
      else goToSource(element, Math.max(0, [...element.querySelectorAll(".source")].indexOf(link)));
      return;
    }
    if (link) {
      const target = link.hash && targetOf(link);
      if (target) window.htmtlReveal(target);
      return;
    }
    if (event.target === back) {
      goToSummary(origin);
      return;
    }
    if (!element || String(getSelection())) return; // selecting text is no click
    if (isSummary(element)) {
      goToSource(element, 0);
      return;
    }
    pinned = pinned === element ? null : element;
    const [first] = partners.get(element) ?? [];
    // Where the summaries stand beside the paper, show the one; never leave the text for it.
    if (pinned && first && getComputedStyle(get("summaries")).position === "sticky") {
      const visible = partners.get(element).find((p) => p.element.closest("#summaries"));
      if (visible) {
        window.htmtlReveal(visible.element);
        scrollTo(visible.element, "nearest");
      }
    }
    update();
  });

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") {
      if (origin) goToSummary(origin);
      pinned = hovered = null;
      update();
    } else if (by && focused) {
      event.preventDefault();
      if (isSummary(focused)) goToSource(focused, by > 0 ? 0 : -1);
      else if (origin) goToSource(origin, step + by);
      else goToNextLinked(focused, by);
    } else if (event.key === "Enter" && event.target.matches?.(".s.linked")) {
      const users = partners.get(event.target);
      const at = users.findIndex((p) => p.element === origin);
      goToSummary(users[(at + 1) % users.length].element);
    }
  });

  get("profile").addEventListener("click", (event) => {
    const box = get("profile").getBoundingClientRect();
    const x = (1000 * (event.clientX - box.left)) / box.width;
    const all = [...document.querySelectorAll(".s")];
    const distance = (s) => Math.abs(Number(s.dataset.x) - x);
    scrollTo(all.reduce((a, b) => (distance(b) < distance(a) ? b : a)), "center");
  });

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll(".outline details")) details.open = true;
  });
})();
