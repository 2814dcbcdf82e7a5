
/* Tabs out of [data-tabs]: its children with an id and a .tab-heading become panels; the
   tab says what the heading says, or its data-tab where that is too long.
   Without this script they are sections that follow each other; in print they always are.
   A link to anything inside a panel opens it (also from another page: report.html#id). */
"use strict";
(() => {
  const open = (tab, focus) => {
    for (const other of tab.parentElement.children) {
      const selected = other === tab;
      other.setAttribute("aria-selected", String(selected));
      other.tabIndex = selected ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !selected;
    }
    if (focus) tab.focus();
  };

  for (const group of document.querySelectorAll("[data-tabs]")) {
    const panels = [...group.children].filter((child) => child.querySelector(".tab-heading"));
    if (panels.length < 2) continue;
    const list = document.createElement("div");
    list.className = "tablist";
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", group.dataset.tabs);
    for (const panel of panels) {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.className = "tab";
      tab.id = "tab-" + panel.id;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      const heading = panel.querySelector(".tab-heading");
      tab.textContent = heading.dataset.tab ?? heading.textContent;
      tab.addEventListener("click", () => open(tab, false));
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      list.append(tab);
    }
    list.addEventListener("keydown", (event) => {
      const tabs = [...list.children];
      const at = tabs.indexOf(document.activeElement);
      const to = {
        ArrowRight: (at + 1) % tabs.length,
        ArrowLeft: (at + tabs.length - 1) % tabs.length,
        Home: 0,
        End: tabs.length - 1,
      }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      open(tabs[to], true);
    });
    group.insertBefore(list, panels[0]);
    open(list.firstChild, false);
  }

  const reveal = (element) => {
    for (let at = element; at; at = at.parentElement) {
      if (at.getAttribute("role") === "tabpanel" && at.hidden)
        open(document.getElementById(at.getAttribute("aria-labelledby")), false);
      if (at.tagName === "DETAILS") at.open = true;
    }
  };
  const followHash = () => {
    let id;
    try {
      id = decodeURIComponent(location.hash.slice(1));
    } catch (error) {
      return; // no such address
    }
    const target = id && document.getElementById(id);
    if (!target) return;
    reveal(target);
    target.scrollIntoView();
  };
  window.htmtlReveal = reveal; // for the other scripts of a page
  window.addEventListener("hashchange", followHash);
  followHash();
})();
