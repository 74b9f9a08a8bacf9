// The page works without this script: it adds sorting, downloads and a marked section to the table of contents.
"use strict";
(() => {
  const text = (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll(".gain, .interval, .hidden, .unit").forEach((part) => part.remove());
    return copy.textContent.trim().replace(/\s+/g, " ");
  };
  const whole = (cell) => cell.textContent.trim().replace(/\s+/g, " ");
  const number = (cell) => {
    const found = text(cell).replace(/−/g, "-").replace(/,/g, "").match(/^[▲▼≈]?\s*([+-]?\d+(\.\d+)?)(?![\w.-])/); // not a date, nor a key
    return found ? Number(found[1]) : NaN;
  };

  const cellAt = (row, column) => {
    let end = 0;
    return [...row.cells].find((cell) => { end += cell.colSpan; return column < end; });
  };

  const sort = (table, column, button) => {
    const body = table.tBodies[0];
    const up = button.getAttribute("aria-pressed") !== "true" || button.dataset.order === "down";
    table.querySelectorAll("thead button").forEach((other) => { other.removeAttribute("aria-pressed"); delete other.dataset.order; });
    table.querySelectorAll("thead th").forEach((th) => th.removeAttribute("aria-sort"));
    button.setAttribute("aria-pressed", "true");
    button.dataset.order = up ? "up" : "down";
    button.closest("th").setAttribute("aria-sort", up ? "ascending" : "descending");
    const sign = up ? 1 : -1;
    const key = (row) => cellAt(row, column);
    const compare = (first, second) => {
      const [a, b] = [number(key(first)), number(key(second))];
      if (Number.isNaN(a) && Number.isNaN(b)) return sign * text(key(first)).localeCompare(text(key(second)), "en", { numeric: true });
      return Number.isNaN(a) ? 1 : Number.isNaN(b) ? -1 : sign * (a - b);
    };
    [...body.rows].sort(compare).forEach((row) => body.append(row));
  };

  const sortable = (table) => table.tHead && table.tBodies.length === 1 && table.tBodies[0].rows.length > 1;

  const makeSortable = (table) => {
    [...table.tHead.rows[0].cells].forEach((th, column) => {
      if (!text(th)) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      const note = th.querySelector("abbr");
      if (note) { button.dataset.note = note.title; button.setAttribute("aria-description", note.title); note.replaceWith(...note.childNodes); }
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener("click", () => sort(table, column, button));
    });
  };

  const rowsOf = (table) => {
    const heads = table.tHead ? [...table.tHead.rows[0].cells].map((cell) => whole(cell)) : [];
    const parts = (row) => [...row.cells].flatMap((cell) => [whole(cell), ...Array(cell.colSpan - 1).fill("")]);
    return { heads, rows: [...table.tBodies].flatMap((body) => [...body.rows]).map(parts) };
  };
  // A spreadsheet computes a text that begins like a formula, and titles are texts of others; a signed number stays one.
  const inert = (value) => (/^([=@]|[+-](?![\d.,%\s[\]+−±]*$))/.test(value) ? `'${value}` : value);
  const asCsv = ({ heads, rows }) => [heads, ...rows].map((row) => row.map((value) => `"${inert(value).replace(/"/g, '""')}"`).join(",")).join("\r\n");
  const asJson = ({ heads, rows }) => JSON.stringify(rows.map((row) => Object.fromEntries(row.map((value, at) => [heads[at] || `column ${at + 1}`, value]))), null, 1);

  const save = (name, kind, content) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: kind }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const addDownloads = (region) => {
    const table = region.querySelector("table");
    const name = (table.dataset.name || region.getAttribute("aria-label") || "table").toLowerCase().replace(/[^a-z0-9]+/g, "-");
    const bar = document.createElement("p");
    bar.className = "downloads";
    const kinds = [["CSV", "text/csv", asCsv], ["JSON", "application/json", asJson]];
    for (const [title, kind, format] of kinds) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      button.setAttribute("aria-label", `Save the table as ${title}: ${region.getAttribute("aria-label")}`);
      button.addEventListener("click", () => save(`${name}.${title.toLowerCase()}`, kind, format(rowsOf(table))));
      bar.append(button);
    }
    region.after(bar);
  };

  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target.querySelector(":scope > details") || target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    target.scrollIntoView();
  };

  // Only what scrolls needs a stop of the Tab key.
  const markScrollers = () => document.querySelectorAll("main .scroll, main figure, main pre, .toc").forEach((part) => { if (part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1) part.tabIndex = 0; else part.removeAttribute("tabindex"); });

  const follow = () => {
    const links = new Map([...document.querySelectorAll(".toc a")].map((link) => [link.hash.slice(1), link]));
    const sections = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
    const mark = () => {
      const current = sections.filter((section) => section.getBoundingClientRect().top < 120).at(-1) || sections[0];
      links.forEach((link, id) => { if (current && id === current.id) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current"); });
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  };

  const enhance = (root) => {
    root.querySelectorAll("table").forEach((table) => { if (sortable(table)) makeSortable(table); });
    root.querySelectorAll(".scroll").forEach((region) => { if (region.querySelector("table")) addDownloads(region); });
  };

  enhance(document.querySelector("main"));
  document.querySelectorAll(".toc a").forEach((link) => link.addEventListener("click", () => { const details = document.querySelector(`${link.hash} > details`); if (details) details.open = true; }));
  addEventListener("hashchange", reveal);
  addEventListener("resize", markScrollers);
  addEventListener("toggle", markScrollers, true);
  addEventListener("section-loaded", (event) => { enhance(event.target); markScrollers(); }); // by the board, which has sections on pages of their own
  addEventListener("beforeprint", () => document.querySelectorAll("details.section").forEach((part) => { part.open = true; }));
  reveal();
  markScrollers();
  follow();
})();
