// Airflow keeps the color scheme that was chosen in its own pages here.
const follow = () => { const chosen = localStorage.getItem("theme"); chosen && chosen !== "system" ? document.documentElement.dataset.theme = chosen : delete document.documentElement.dataset.theme; };
follow(); addEventListener("storage", follow);

const unfold = () => { const target = document.getElementById(location.hash.slice(1)); if (target?.tagName === "DETAILS") target.open = true; };
addEventListener("hashchange", unfold);

// A heavy section of a run has its content on a page of its own until it is opened, or the page is printed.
const contentOf = async (address, id) => {
  const answer = await fetch(address).catch(() => { throw new Error("the server did not answer"); });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const body = (await answer.text()).replace(/<style[^]*?<\/style>/g, ""); // its nonce is not this page's
  const found = new DOMParser().parseFromString(body, "text/html").getElementById(id);
  if (!found) throw new Error("the answer does not contain it; reload this page");
  return [...(found.querySelector(":scope > details") || found).children].slice(1);
};
const fill = async (details) => {
  const link = details.querySelector(":scope > p");
  link.setAttribute("role", "status");
  link.firstChild.textContent = "Loading …";
  try {
    link.replaceWith(...await contentOf(details.dataset.load, details.parentElement.id));
    delete details.dataset.load;
    details.dispatchEvent(new Event("section-loaded", { bubbles: true }));
  } catch (error) {
    link.firstChild.textContent = `This section could not be loaded: ${error.message}. Open it on a page of its own.`;
  }
};
const loads = new Map(); // section to the promise of its content, while it is loaded
const load = (details) => {
  if (!loads.has(details)) loads.set(details, fill(details).finally(() => loads.delete(details)));
  return loads.get(details);
};
addEventListener("toggle", (event) => { if (event.target.open && event.target.dataset.load) load(event.target); }, true);

// The event `beforeprint` waits for nothing, so the sections are loaded before the browser is asked to print.
const missing = () => document.querySelectorAll("details[data-load]");
const printWhole = async () => {
  for (const details of missing()) { // one after the other: the server draws one at a time
    details.open = true;
    await load(details);
    if (details.dataset.load) return details.scrollIntoView(); // it says why it could not be loaded
  }
  print();
};
addEventListener("keydown", (event) => {
  if (event.key !== "p" || !(event.ctrlKey || event.metaKey) || !missing().length) return;
  event.preventDefault();
  printWhole();
});

addEventListener("DOMContentLoaded", () => {
  unfold();
  if (document.querySelector("details.section")) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Print" });
    button.addEventListener("click", printWhole);
    document.querySelector("header nav").append(button);
  }
  for (const form of document.querySelectorAll("form[data-most]")) {
    const button = form.querySelector("button"), said = form.querySelector("[role=status]");
    const count = () => {
      const chosen = form.querySelectorAll("input:checked").length;
      button.disabled = chosen < 2 || chosen > Number(form.dataset.most);
      said.textContent = `${chosen} of at most ${form.dataset.most} runs chosen`;
    };
    form.addEventListener("change", count);
    count();
  }
  for (const field of document.querySelectorAll("input[data-suggest]")) {
    let asked = 0;
    field.addEventListener("input", async () => {
      const mine = ++asked, list = document.getElementById(field.getAttribute("list"));
      if (!field.value) return;
      const answer = await fetch(`${field.dataset.suggest}&prefix=${encodeURIComponent(field.value)}`);
      if (!answer.ok || mine !== asked) return;
      const found = await answer.json();
      if (mine === asked) list.replaceChildren(...found.map(one => Object.assign(document.createElement("option"), { value: one.id, label: one.title ? `${one.title} (${one.id})` : one.id })));
    });
  }
});
