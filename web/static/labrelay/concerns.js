// What speaks against the chosen phases, as the server sees it: said beside the button.
import { page } from "./page.js";
import { chosenModel, choices, isProposed, problem } from "./roles.js";

const list = document.getElementById("concerns");

let asked = null;

/** Say what speaks against the choice; returns the sentence that refuses it, or an empty text. */
export async function checkChoice() {
  asked?.abort();
  const mine = (asked = new AbortController());
  show([]);
  if (problem()) {
    return "";
  }
  if (isProposed()) {
    show(chosenModel().concerns);
    return "";
  }
  const found = await ask(mine.signal);
  if (mine !== asked) {
    return "";
  }
  show(found.filter((concern) => !concern.refuses).map((concern) => concern.message));
  return found.find((concern) => concern.refuses)?.message ?? "";
}

/** The concerns. None where the server does not tell: it looks again at the click. */
async function ask(signal) {
  const query = new URLSearchParams({ model: chosenModel().name });
  for (const { id } of choices()) {
    query.append("phase", id);
  }
  try {
    const answer = await fetch(`${page.concerns}?${query}`, { signal });
    const told = await answer.json();
    // What a click would be refused for is said in the same form.
    const refused = { message: told.error?.message, refuses: true };
    return answer.ok ? told.concerns : answer.status === 422 ? [refused] : [];
  } catch {
    return [];
  }
}

function show(sentences) {
  list.replaceChildren(
    ...sentences.map((sentence) => {
      const line = document.createElement("li");
      line.textContent = sentence;
      return line;
    }),
  );
  list.hidden = !sentences.length;
}
