// Airflow keeps the color scheme that was chosen in its own pages here.
const follow = () => { const chosen = localStorage.getItem("theme"); chosen && chosen !== "system" ? document.documentElement.dataset.theme = chosen : delete document.documentElement.dataset.theme; };
follow(); addEventListener("storage", follow);

const unfold = () => { const target = document.getElementById(location.hash.slice(1)); if (target?.tagName === "DETAILS") target.open = true; };
addEventListener("hashchange", unfold);

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
