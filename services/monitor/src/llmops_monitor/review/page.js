// One item at a time, by keys alone. Text of prompts and answers is only ever set as textContent: it is data, never markup.
"use strict";

const $ = (id) => document.getElementById(id);
const key = new URLSearchParams(location.hash.slice(1)).get("key") || "";
let reviewer = "", item = null, skipped = [], correction = "", shownAt = 0, busy = false;

async function call(path, body) {
  const headers = { "content-type": "application/json", "x-review-key": key };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function show(state) {
  item = state.item;
  correction = "";
  $("progress").textContent = `${state.num_answered} answered by you, ${state.num_items} in all`;
  $("agreement").textContent = state.alpha === null ? "" : `Agreement (Krippendorff's alpha): ${state.alpha.toFixed(2)} on ${state.num_shared} items`;
  for (const id of ["kept", "correcting", "error"]) $(id).hidden = true;
  $("item").hidden = item === null;
  $("done").hidden = item !== null;
  if (item === null) return;
  $("conversation").replaceChildren(...item.messages.map((message) => block("message", message.role, message.content)));
  $("reference").hidden = item.reference === null;
  $("reference").querySelector("pre").textContent = item.reference || "";
  $("question").textContent = item.question;
  const names = item.responses.length === 2 ? ["First", "Second"] : ["Answer"];
  $("candidates").replaceChildren(...item.responses.map((response, place) => block("candidate", names[place], response)));
  $("choices").replaceChildren(...item.choices.map((choice, place) => {
    const line = document.createElement("li"), cap = document.createElement("kbd");
    cap.textContent = place + 1;
    line.append(cap, ` ${choice}`);
    return line;
  }));
  shownAt = performance.now();
  window.scrollTo(0, 0);
  $("question").focus({ preventScroll: true }); // a screen reader starts at the question
}

function block(kind, title, text) {
  const box = document.createElement("div"), head = document.createElement("b"), body = document.createElement("pre");
  box.className = kind;
  head.textContent = title;
  body.textContent = text;
  box.append(head, body);
  return box;
}

async function go(path, body) {
  if (busy) return; // a key pressed twice answers once
  busy = true;
  try {
    show(await call(path, { reviewer, skipped, ...body }));
  } catch (error) {
    $("error").textContent = `${error.message} — your last answer was not kept.`;
    $("error").hidden = false;
  } finally {
    busy = false;
  }
}

function editKeys(event) {
  if (event.key === "Escape" || (event.key === "Enter" && event.ctrlKey)) {
    correction = event.key === "Escape" ? "" : $("correction").value.trim();
    $("correcting").hidden = true;
    $("kept").hidden = !correction;
    $("question").focus();
    event.preventDefault();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.target === $("correction")) return editKeys(event);
  if (!reviewer || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "u") {
    skipped = [];
    go("undo", {});
  } else if (item === null) {
    return;
  } else if (event.key >= "1" && event.key <= "9" && item.choices[event.key - 1] !== undefined) {
    const duration_s = (performance.now() - shownAt) / 1000;
    go("answer", { item_id: item.item_id, choice: Number(event.key) - 1, correction: correction || null, duration_s });
  } else if (event.key === "s") {
    skipped.push(item.item_id);
    go("next", {});
  } else if (event.key === "e") {
    $("correction").value = correction || item.responses[0];
    $("correcting").hidden = false;
    $("correction").focus();
  } else {
    return;
  }
  event.preventDefault();
});

$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  reviewer = $("reviewer").value.trim();
  if (!reviewer) return;
  $("who").hidden = true;
  go("next", {});
});
