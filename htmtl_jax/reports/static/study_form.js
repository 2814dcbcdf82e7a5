
/* The screens of a rater's form: start, questions, end. Text is set as text, never as markup. */
"use strict";
(() => {
  const { packet, state } = study;
  const main = document.getElementById("main");
  const byId = (id) => document.getElementById(id);

  /* make("p", {class: "x", text: "..."}, child, ...) */
  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === undefined || value === false || value === null) continue;
      if (name === "text") element.textContent = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  };
  const say = (text) => {
    byId("status").textContent = text; // until the next screen
  };
  const paragraphs = (texts) => texts.map((text) => make("p", { dir: "auto", text }));

  /* ------------------------------------------------------------ time on a question */

  let since = null;
  let timed = null;
  const stopClock = () => {
    if (timed && since !== null) study.entry(timed.id).seconds += (performance.now() - since) / 1000;
    since = null;
  };
  const startClock = (question) => {
    stopClock();
    timed = question;
    since = question && document.visibilityState === "visible" ? performance.now() : null;
  };
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") startClock(timed);
    else {
      stopClock();
      study.keep();
    }
  });

  /* ------------------------------------------------------------ files */

  let unsaved = false; // answers that are in no file yet
  const download = () => {
    stopClock();
    startClock(timed);
    const text = JSON.stringify(study.record(), null, 1) + "\n";
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = make("a", { href: address, download: packet.rater + ".json" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    unsaved = false;
    say("Saved as " + packet.rater + ".json in your downloads.");
  };
  const loader = () => {
    const problem = make("p", { class: "study-problem", role: "alert" });
    const input = make("input", {
      type: "file", id: "load", accept: ".json,application/json",
      onchange: async () => {
        const [file] = input.files;
        if (!file) return;
        const wrong = study.load(await file.text());
        input.value = ""; // so that the same name can be chosen once more
        problem.textContent = wrong;
        if (!wrong) goOn();
      },
    });
    return make("div", { class: "study-load" },
      make("label", { for: "load", text: "Go on from a file that you saved: " }), input, problem);
  };
  window.addEventListener("beforeunload", (event) => {
    stopClock();
    study.keep();
    if (unsaved && !study.keeps()) event.preventDefault();
  });

  /* ------------------------------------------------------------ instructions, help */

  const anchors = (scale) =>
    make("div", { class: "study-anchors" },
      make("h3", { text: capital(scale.name) }),
      make("p", { text: scale.question }),
      make("ol", {}, scale.anchors.map((text) => make("li", { text }))));
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const scales = () =>
    packet.scales.length
      ? [make("h2", { text: "What the points mean" }),
         make("div", { class: "study-scales" }, packet.scales.map(anchors))]
      : [];
  const KEYS = [
    ["pairwise", "A or 1, B or 2", "the better summary"],
    ["pairwise", "T or 0", "a tie"],
    ["best_worst", "A, B, …", "the best summary; with Shift the worst"],
    ["likert", "1 to 5", "rate the line that is marked, and go to the next"],
    ["likert", "↑ and ↓", "mark another line"],
    [null, "Enter or N", "next question"],
    [null, "P", "previous question"],
    [null, "?", "this help"],
  ];
  const keyTable = () => {
    const tasks = new Set(packet.questions.map((question) => question.task));
    return make("table", { class: "study-keys" },
      make("caption", { text: "Keys" }),
      make("tbody", {}, KEYS.filter(([task]) => task === null || tasks.has(task)).map(
        ([, keys, text]) => make("tr", {}, make("th", { scope: "row", text: keys }), make("td", { text })))));
  };
  const help = () => {
    byId("help-body").replaceChildren(
      ...paragraphs(packet.instructions), ...scales(), make("h2", { text: "By keyboard" }), keyTable(),
      ...(packet.contact ? [make("h2", { text: "Questions?" }), make("p", { text: packet.contact, dir: "auto" })] : []));
    byId("help").showModal();
  };

  /* ------------------------------------------------------------ start */

  const showStart = () => {
    chrome(false);
    const found = Object.keys(state.answers).length > 0;
    const consent = packet.consent
      ? make("label", { class: "study-consent" },
          make("input", {
            type: "checkbox", id: "consent", checked: state.started,
            onchange: (event) => { begin.disabled = !event.target.checked; },
          }),
          make("span", { text: packet.consent, dir: "auto" }))
      : null;
    const begin = make("button", {
      type: "button", class: "primary", id: "begin", disabled: Boolean(consent) && !state.started,
      text: found ? "Go on" : "Begin", onclick: () => { state.started = true; study.keep(); goOn(); },
    });
    const count = packet.questions.length;
    const papers = Object.keys(packet.documents).length;
    show("study-page",
      make("h1", { text: packet.title, dir: "auto", tabindex: "-1" }),
      make("p", { class: "muted", text:
        count + (count === 1 ? " question" : " questions") + " on " +
        papers + (papers === 1 ? " paper" : " papers") + ". You are " + packet.rater + "." }),
      ...paragraphs(packet.instructions),
      ...scales(),
      ...(packet.contact ? [make("h2", { text: "Questions?" }), make("p", { text: packet.contact, dir: "auto" })] : []),
      consent ? make("h2", { text: "Consent" }) : null, consent,
      make("p", { class: "study-begin" }, begin),
      found ? make("p", { class: "muted", text: "Your answers so far were kept in this browser." }) : null,
      loader());
  };

  /* ------------------------------------------------------------ a question */

  let rows = []; // the lines to fill in: {path, element, inputs: Map value -> input}
  let marked = 0;
  let question = null;

  const showQuestion = (at, after) => {
    question = packet.questions[at];
    state.at = at;
    study.keep();
    chrome(true);
    rows = [];
    const problem = make("p", { class: "study-problem", id: "problem", role: "alert" });
    const level = packet.levels[question.level];
    const panel = make("section", { class: "study-judge", "aria-labelledby": "question-title" },
      make("h1", { id: "question-title", tabindex: "-1", text:
        "Question " + (at + 1) + " of " + packet.questions.length + ": " + level.name }),
      make("p", { class: "muted", text: level.text }),
      { pairwise: pairwise, best_worst: bestWorst, likert: likert }[question.task](),
      make("div", { class: "study-more" },
        make("label", { class: "study-skip" },
          make("input", {
            type: "checkbox", id: "skip", checked: study.isSkipped(question),
            onchange: (event) => { study.skip(question, event.target.checked); unsaved = true; refresh(); },
          }),
          make("span", { text: "I cannot judge this question" })),
        comments()),
      problem,
      make("div", { class: "study-steps" },
        make("button", { type: "button", id: "previous", text: "Previous", disabled: at === 0, onclick: back }),
        make("button", { type: "button", id: "next", class: "primary", text: at + 1 < packet.questions.length ? "Next" : "Finish", onclick: next })));
    const source = paper();
    show(source ? "study-split" : "study-page", source, panel);
    marked = Math.max(0, rows.findIndex((row) => study.get(question, row.path) === undefined));
    refresh();
    startClock(question);
    if (after) byId("question-title").focus({ preventScroll: true });
  };

  const comments = () => {
    const area = make("textarea", {
      id: "comment", rows: "2", maxlength: "2000",
      oninput: () => { study.comment(question, area.value); unsaved = true; },
    });
    area.value = state.answers[question.id]?.comment ?? "";
    return make("details", { open: area.value !== "" },
      make("summary", { text: "Comment (optional)" }),
      make("label", { for: "comment", class: "visually-hidden", text: "Comment" }), area);
  };

  const paper = () => {
    const shown = packet.documents[question.document];
    const body = [];
    if (question.reference)
      body.push(make("section", {}, make("h3", { text: "Reference summary" }), ...paragraphs(question.reference)));
    if (shown.abstract)
      body.push(make("section", {}, make("h3", { text: "Abstract" }), ...paragraphs(shown.abstract)));
    const headed = (shown.sections ?? []).filter((section) => section.heading);
    if (headed.length > 1)
      body.push(make("nav", { class: "study-outline", "aria-label": "Sections of the paper" },
        make("ol", {}, shown.sections.map((section, k) => section.heading
          ? make("li", {}, make("a", { href: "#section-" + k, text: section.heading, dir: "auto" })) : null))));
    (shown.sections ?? []).forEach((section, k) => {
      body.push(make("section", { id: "section-" + k, class: "study-text" },
        section.heading ? make("h3", { text: section.heading, dir: "auto" }) : null,
        ...paragraphs(section.paragraphs)));
    });
    if (!body.length) return null;
    const wide = window.matchMedia("(min-width: 60rem)").matches;
    return make("details", { class: "study-paper", id: "paper", open: wide, "data-document": question.document },
      make("summary", {}, make("span", { text: "The paper" + (shown.title ? ": " + shown.title : ""), dir: "auto" })),
      make("div", { class: "study-paper-body", tabindex: "0", role: "region", "aria-label": "The paper" }, body));
  };

  const summaryCard = (k, ...more) => {
    const label = study.labels(question)[k];
    const lines = question.texts[k].filter((line) => line.trim());
    const block = question.level === "section" ? paragraphs(lines) : lines.length ? paragraphs([lines.join(" ")]) : [];
    return make("article", { class: "card study-summary", "aria-label": "Summary " + label },
      make("h2", { class: "study-label" }, make("span", { text: label })),
      make("div", { class: "study-summary-text" },
        block.length ? block : make("p", { class: "muted", text: "(This summary is empty.)" })),
      ...more);
  };
  const cards = () =>
    make("div", { class: "study-cards" }, question.texts.map((_, k) => summaryCard(k)));

  /* A line of choices; several of them make up a question. */
  const row = (path, legend, choices, extra) => {
    const number = rows.length;
    const inputs = new Map();
    const options = choices.map(({ value, text, label }) => {
      const input = make("input", {
        type: "radio", name: path.join("/"), value: String(value), "aria-label": label,
        onchange: () => choose(number, value),
        onfocus: () => mark(number),
      });
      inputs.set(value, input);
      return make("label", { class: "study-choice", "data-value": String(value) }, input, make("span", { text }));
    });
    const element = make("fieldset", { class: "study-row", tabindex: "-1" },
      make("legend", { text: legend }), make("div", { class: "study-choices" }, options), extra);
    rows.push({ path, element, inputs });
    return element;
  };

  const pairwise = () => {
    const asked = packet.compare_by.map(({ name, better }) =>
      row([name], better, [
        { value: "A", text: "A is better" },
        { value: "tie", text: "No difference" },
        { value: "B", text: "B is better" },
      ]));
    return make("div", {}, cards(), asked);
  };

  const bestWorst = () => {
    const choices = study.labels(question).map((label) => ({ value: label, text: label }));
    const asked = packet.compare_by.flatMap(({ name, best, worst }) => [
      row([name, "best"], best, choices),
      row([name, "worst"], worst, choices),
    ]);
    return make("div", {}, cards(), asked);
  };

  const likert = () => {
    const guide = make("details", { class: "study-guide" },
      make("summary", { text: "What the points mean" }),
      make("div", { class: "study-scales" }, packet.scales.map(anchors)));
    const rated = question.texts.map((_, k) => {
      const label = study.labels(question)[k];
      return summaryCard(k, packet.scales.map((scale) =>
        row([label, scale.name], capital(scale.name),
          [1, 2, 3, 4, 5].map((value) => ({
            value, text: String(value), label: value + ": " + scale.anchors[value - 1] })),
          make("p", { class: "study-meaning muted", "aria-hidden": "true" }))));
    });
    return make("div", {}, guide, rated);
  };

  const choose = (number, value) => {
    const { path, inputs } = rows[number];
    if (question.task === "best_worst") {
      // One summary is not both.
      const other = [path[0], path[1] === "best" ? "worst" : "best"];
      if (study.get(question, other) === value) study.set(question, other, undefined);
    }
    study.set(question, path, value);
    inputs.get(value).checked = true;
    unsaved = true;
    refresh();
  };

  const mark = (number) => {
    marked = number;
    rows.forEach((each, k) => each.element.classList.toggle("study-marked", k === number && rows.length > 1));
  };

  const refresh = () => {
    byId("skip").checked = study.isSkipped(question);
    for (const { path, element, inputs } of rows) {
      const value = study.get(question, path);
      for (const [own, input] of inputs) input.checked = own === value;
      const meaning = element.querySelector(".study-meaning");
      if (meaning) {
        const scale = packet.scales.find((each) => each.name === path[1]);
        meaning.textContent = value === undefined
          ? "1 " + scale.anchors[0] + " … 5 " + scale.anchors[4]
          : value + " " + scale.anchors[value - 1];
      }
    }
    mark(marked);
    if (study.isDone(question)) byId("problem").textContent = "";
    progress();
  };

  const next = () => {
    if (!study.isDone(question)) {
      const left = rows.filter((each) => study.get(question, each.path) === undefined);
      byId("problem").textContent = rows.length > 1
        ? "Still open: " + left.length + " of " + rows.length + " answers. If you cannot judge this question, say so below."
        : "Choose an answer first. If you cannot judge this question, say so below.";
      mark(rows.indexOf(left[0]));
      left[0].element.scrollIntoView({ block: "nearest" });
      return;
    }
    const at = state.at + 1;
    if (at < packet.questions.length) showQuestion(at, true);
    else showEnd();
  };
  const back = () => {
    if (state.at > 0) showQuestion(state.at - 1, true);
  };
  const goOn = () => {
    const [first] = study.open();
    if (first) showQuestion(packet.questions.indexOf(first), true);
    else showEnd();
  };

  /* ------------------------------------------------------------ end */

  const showEnd = () => {
    const open = study.open();
    chrome(true);
    startClock(null);
    state.at = packet.questions.length;
    progress();
    const text = make("textarea", { readonly: true, rows: "6", id: "copy", "aria-label": "Answers as text" });
    show("study-page",
      make("h1", { tabindex: "-1", text: open.length ? "Nearly done" : "Done. Thank you!" }),
      open.length
        ? make("p", {}, open.length + " questions are open. ",
            make("button", { type: "button", text: "Answer them", onclick: goOn }))
        : make("p", { text: "All " + packet.questions.length + " questions are answered. One step is left: save your answers to a file, and send that file back." }),
      make("p", { class: "study-begin" },
        make("button", { type: "button", class: "primary", id: "finish", text: "Save " + packet.rater + ".json", onclick: download })),
      packet.contact ? make("p", { text: packet.contact, dir: "auto" }) : null,
      make("details", { class: "study-end", ontoggle: () => { text.value = JSON.stringify(study.record()); } },
        make("summary", { text: "No file appears?" }),
        make("p", { text: "Copy this text into an e-mail instead." }), text),
      make("p", {}, make("button", { type: "button", id: "review", text: "Look at my answers again", onclick: () => showQuestion(0, true) })));
    main.querySelector("h1").focus({ preventScroll: true });
  };

  /* ------------------------------------------------------------ frame */

  const show = (kind, ...children) => {
    // A paper that stays keeps its place; a new one starts at its beginning.
    const old = byId("paper");
    const place = old && { document: old.dataset.document, open: old.open, top: old.querySelector(".study-paper-body").scrollTop };
    say("");
    main.className = kind;
    main.replaceChildren(...children.filter(Boolean));
    const now = byId("paper");
    if (place && now && place.document === now.dataset.document) {
      now.open = place.open;
      now.querySelector(".study-paper-body").scrollTop = place.top;
    }
    window.scrollTo(0, 0);
  };
  const chrome = (visible) => {
    byId("progress").hidden = !visible;
    byId("actions").hidden = !visible;
    byId("kept").textContent = study.keeps()
      ? "" : "This browser keeps nothing: save to a file before you close it.";
  };
  const progress = () => {
    const done = packet.questions.length - study.open().length;
    byId("progress-bar").value = done / packet.questions.length;
    byId("progress-text").textContent = done + " of " + packet.questions.length;
  };

  /* ------------------------------------------------------------ keyboard */

  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const target = event.target;
    if (target.closest("textarea, input[type=file], select")) return;
    if (event.key === "?") return act(event, help);
    if (!byId("question-title")) return;
    if (event.key === "Enter" && !target.closest("button, summary, a")) return act(event, next);
    if (event.key === "n" || event.key === "N") return act(event, next);
    if (event.key === "p" || event.key === "P") return act(event, back);
    const inPaper = target.closest(".study-paper");
    if (question.task === "likert") {
      if (/^[1-5]$/.test(event.key)) return act(event, () => fill(marked, Number(event.key)));
      if (inPaper || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
      const to = marked + (event.key === "ArrowDown" ? 1 : -1);
      if (rows[to]) act(event, () => focusRow(to));
      return;
    }
    const key = event.key.toUpperCase();
    if (question.task === "pairwise") {
      const value = { A: "A", 1: "A", B: "B", 2: "B", T: "tie", 0: "tie" }[key];
      if (value) act(event, () => fill(marked, value));
    } else if (study.labels(question).includes(key)) {
      // Letters choose the best, capitals the worst, of the comparison that is marked.
      const name = rows[marked].path[0];
      const wanted = event.shiftKey ? "worst" : "best";
      const to = rows.findIndex((each) => each.path[0] === name && each.path[1] === wanted);
      act(event, () => fill(to, key));
    }
  };
  const act = (event, action) => {
    event.preventDefault();
    action();
  };
  const fill = (number, value) => {
    choose(number, value);
    const open = rows.findIndex((each) => study.get(question, each.path) === undefined);
    focusRow(open < 0 ? number : open);
  };
  const focusRow = (number) => {
    const { inputs, element } = rows[number];
    // No point gets the focus before it is chosen: that would suggest it.
    const chosen = [...inputs.values()].find((input) => input.checked) ?? element;
    chosen.focus({ preventScroll: true });
    mark(number);
    element.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", press);
  byId("help-button").addEventListener("click", help);
  byId("save-button").addEventListener("click", download);

  study.remember();
  showStart();
})();
