
/* What a rater has answered: kept, timed, saved to a file, read back. No screens here.

   An answer, by task:
     pairwise    {"overall": "A" | "tie" | "B"}
     best_worst  {"overall": {"best": "A", "worst": "C"}}
     likert      {"A": {"fluency": 4, ...}, ...} */
"use strict";
const study = (() => {
  const packet = JSON.parse(document.getElementById("data").textContent);
  const place = "study/" + packet.study + "/" + packet.rater;
  const LABELS = "ABCDEFGH";
  const state = { started: false, at: 0, answers: {} };

  const entry = (id) => (state.answers[id] ??= { seconds: 0 });
  const labels = (question) => question.texts.map((_, k) => LABELS[k]);

  /* What is to be filled in for a question: the list of fields, each with its setter. */
  const fields = (question) =>
    question.task === "likert"
      ? labels(question).flatMap((label) => packet.scales.map((s) => [label, s.name]))
      : question.task === "pairwise"
        ? packet.compare_by.map((c) => [c.name])
        : packet.compare_by.flatMap((c) => [[c.name, "best"], [c.name, "worst"]]);

  const get = (question, path) =>
    path.reduce((value, key) => value?.[key], state.answers[question.id]?.answer);

  const set = (question, path, value) => {
    const own = entry(question.id);
    let at = (own.answer ??= {});
    for (const key of path.slice(0, -1)) at = at[key] ??= {};
    at[path[path.length - 1]] = value;
    delete own.skipped;
    keep();
  };

  const skip = (question, skipped) => {
    const own = entry(question.id);
    if (skipped) own.skipped = true;
    else delete own.skipped;
    keep();
  };

  const comment = (question, text) => {
    const own = entry(question.id);
    if (text.trim()) own.comment = text.slice(0, 2000);
    else delete own.comment;
    keep();
  };

  const isSkipped = (question) => state.answers[question.id]?.skipped === true;
  const isFilled = (question) => fields(question).every((path) => get(question, path) !== undefined);
  const isDone = (question) => isSkipped(question) || isFilled(question);
  const open = () => packet.questions.filter((question) => !isDone(question));

  /* ---- kept in this browser, where it allows that */

  let keeps = true;
  const keep = () => {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch (error) {
      keeps = false; // private windows, or storage switched off
    }
  };
  const remember = () => {
    let text = null;
    try {
      text = localStorage.getItem(place);
    } catch (error) {
      keeps = false;
    }
    if (!text) return false;
    try {
      const kept = JSON.parse(text);
      take(kept.answers);
      state.started = kept.started === true;
      return Object.keys(state.answers).length > 0;
    } catch (error) {
      return false; // somebody else's, or cut off
    }
  };

  /* ---- files */

  const record = () => ({
    format: packet.answers_format,
    version: packet.version,
    study: packet.study,
    rater: packet.rater,
    packet: packet.packet,
    // A browser driven by a program says so, and what a program answers is no judgment.
    simulated: navigator.webdriver === true,
    complete: open().length === 0,
    answers: Object.fromEntries(
      packet.questions
        .filter((question) => state.answers[question.id])
        .map((question) => {
          const { seconds, answer, skipped, comment: text } = state.answers[question.id];
          const kept = { seconds: Math.round(seconds * 10) / 10 };
          if (skipped) kept.skipped = true;
          else if (answer) kept.answer = answer;
          if (text) kept.comment = text;
          return [question.id, kept];
        }),
    ),
  });

  /* Takes over answers from outside, as far as they fit the questions. */
  const take = (answers) => {
    for (const question of packet.questions) {
      const given = answers?.[question.id];
      if (typeof given !== "object" || given === null) continue;
      const own = { seconds: Number.isFinite(given.seconds) ? given.seconds : 0 };
      if (typeof given.comment === "string") own.comment = given.comment.slice(0, 2000);
      if (given.skipped === true) own.skipped = true;
      state.answers[question.id] = own;
      for (const path of fields(question)) {
        const value = path.reduce((v, key) => v?.[key], given.answer);
        if (allows(question, path, value)) {
          let at = (own.answer ??= {});
          for (const key of path.slice(0, -1)) at = at[key] ??= {};
          at[path[path.length - 1]] = value;
        }
      }
    }
  };
  const allows = (question, path, value) =>
    question.task === "likert"
      ? [1, 2, 3, 4, 5].includes(value)
      : labels(question).includes(value) || (question.task === "pairwise" && value === "tie");

  /* Returns what is wrong with a file in one sentence, or nothing. */
  const load = (text) => {
    let given;
    try {
      given = JSON.parse(text);
    } catch (error) {
      return "This file is damaged, or not one of saved answers. Choose the .json file that you saved.";
    }
    if (given?.format !== packet.answers_format) return "This file holds no answers. Choose the .json file that you saved.";
    if (given.study !== packet.study) return "These answers belong to another study. Choose the file that you saved from this form.";
    if (given.rater !== packet.rater) return "These answers are of another rater (" + String(given.rater).slice(0, 40) + "). Choose your own file.";
    take(given.answers);
    state.started = true;
    keep();
    return "";
  };

  return {
    packet, state, entry, labels, fields, get, set, skip, comment, isSkipped, isFilled, isDone,
    open, keep, remember, record, load, keeps: () => keeps,
  };
})();
