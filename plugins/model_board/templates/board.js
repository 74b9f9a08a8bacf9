// Airflow keeps the color scheme that was chosen in its own pages here.
const follow = () => { const chosen = localStorage.getItem("theme"); chosen && chosen !== "system" ? document.documentElement.dataset.theme = chosen : delete document.documentElement.dataset.theme; };
follow(); addEventListener("storage", follow);

const unfold = () => { const target = document.getElementById(location.hash.slice(1)); if (target?.tagName === "DETAILS") target.open = true; };
addEventListener("hashchange", unfold);

// A heavy section of a run has its content on a page of its own until it is opened.
const load = async (details) => {
  const address = details.dataset.load;
  const id = details.parentElement.id;
  const link = details.querySelector(":scope > p");
  delete details.dataset.load;
  link.setAttribute("role", "status");
  try {
    link.firstChild.textContent = "Loading …";
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const body = (await answer.text()).replace(/<style[^]*?<\/style>/g, ""); // its nonce is not this page's
    const found = new DOMParser().parseFromString(body, "text/html").getElementById(id);
    const parts = [...(found.querySelector(":scope > details") || found).children].slice(1);
    link.replaceWith(...parts);
    details.dispatchEvent(new Event("section-loaded", { bubbles: true }));
  } catch (error) {
    details.dataset.load = address;
    link.firstChild.textContent = `This section could not be loaded (${error.message}): open it on a page of its own`;
  }
};
addEventListener("toggle", (event) => { if (event.target.open && event.target.dataset.load) load(event.target); }, true);

addEventListener("DOMContentLoaded", () => {
  unfold();
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
