// The filters of the front page. What is chosen stands in the address, so that it can be sent and kept.
const filters = document.getElementById("filters");
const boxes = [...filters.querySelectorAll("input[type=checkbox][name]")];
const text = document.getElementById("text");
const build = document.getElementById("build");
const compact = document.getElementById("compact");
const shownCount = document.getElementById("shown");
const reset = document.getElementById("reset");
const table = document.querySelector(".matrix");
const rows = [...table.querySelectorAll("tr.issue")];
const columns = [...table.querySelectorAll("[data-product]")];
const heads = [...table.querySelectorAll("th.build")];
filters.hidden = false;
// A phone has room for one build: the newest one, until another is chosen.
const phone = window.matchMedia("(max-width: 46rem)").matches;
const atFirst = phone && build.options.length > 2 ? build.options[build.options.length - 1].value : "";

function chosen() {
  const groups = {};
  for (const box of boxes) if (box.checked) (groups[box.name] ??= new Set()).add(box.value);
  return groups;
}

const allows = (group, value) => !group || group.has(value);

// Any of the chosen marks is enough; "stale" is a question of when somebody looks, so it is no data.
function marked(marks, row, onBuild) {
  if (!marks) return true;
  const carried = new Set(onBuild.dataset.marks.split(" "));
  if ("onesided" in row.dataset) carried.add("one-sided");
  if ("differ" in row.dataset) carried.add("differ");
  if (onBuild.classList.contains("stale")) carried.add("stale");
  return [...marks].some((mark) => carried.has(mark));
}

function apply() {
  const { product, area, verdict, substrate, builds, marks } = chosen();
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const concerns = (one) =>
    (!build.value || build.value === one.dataset.id) && allows(product, one.dataset.product) && !(builds && "superseded" in one.dataset);
  for (const one of columns) one.hidden = !concerns(one);
  for (const head of table.querySelectorAll("[data-span]")) {
    const tracks = head.dataset.span.trim().split(" ");
    const width = heads.filter((one) => !one.hidden && tracks.includes(one.dataset.track)).length;
    head.hidden = width === 0;
    if (width) head.colSpan = width;
  }
  // A word may also be a version: it is found in the rows that a shown build of it has the bug of.
  const named = (word) => heads.filter((one) => !one.hidden && /\d/.test(word) && one.textContent.toLowerCase().includes(word));
  const versions = new Map(words.map((word) => [word, new Set(named(word).map((one) => one.dataset.id))]));
  let shown = 0;
  for (const row of rows) {
    let hits = 0;
    const affected = new Set();
    for (const onBuild of row.querySelectorAll(".on-build")) {
      onBuild.hidden = !allows(substrate, onBuild.dataset.substrate);
      if (["reproduced", "regressed", "discovered", "failed"].includes(onBuild.dataset.verdict)) affected.add(onBuild.parentElement.dataset.id);
      if (!onBuild.hidden && !onBuild.parentElement.hidden && allows(verdict, onBuild.dataset.verdict) && marked(marks, row, onBuild)) hits += 1;
    }
    const found = (word) => row.dataset.text.includes(word) || [...versions.get(word)].some((id) => affected.has(id));
    const wanted = hits > 0 || !(verdict || substrate || product || marks);
    row.hidden = !(wanted && allows(area, row.dataset.area) && words.every(found));
    shown += row.hidden ? 0 : 1;
  }
  for (const group of table.querySelectorAll("tbody.area")) group.hidden = !group.querySelector("tr.issue:not([hidden])");
  table.classList.toggle("compact", compact.checked && !(phone && build.value));
  table.classList.toggle("one", Boolean(build.value));
  const count = boxes.filter((box) => box.checked && box.closest("#more")).length;
  const filtered = words.length > 0 || build.value !== atFirst || boxes.some((box) => box.checked);
  document.getElementById("chosen").textContent = count;
  shownCount.textContent = shown === rows.length && !filtered ? "" : `${shown} of ${rows.length} issues`;
  reset.hidden = !filtered;
  document.getElementById("nothing").hidden = shown > 0;
}

// One build of another product than the chosen ones would leave nothing to see: the newest of theirs instead.
function keepBuildWithin() {
  const { product } = chosen();
  const within = heads.filter((one) => allows(product, one.dataset.product)).map((one) => one.dataset.id);
  if (build.value && within.length && !within.includes(build.value)) build.value = within.at(-1);
}

function address() {
  const found = new URLSearchParams();
  for (const [name, values] of Object.entries(chosen())) found.set(name, [...values].join(","));
  if (text.value) found.set("text", text.value);
  if (build.value !== atFirst) found.set("build", build.value || "all");
  const view = compact.checked ? "compact" : "words";
  if (view !== table.dataset.default) found.set("view", view);
  const query = found.toString().replaceAll("%2C", ",").replaceAll("%40", "@");
  return query ? `#${query}` : "#";
}

// What is typed is one step of the way back, whatever the number of letters; each choice is one of its own.
function write(how) {
  const wanted = address();
  if (wanted !== (window.location.hash || "#")) window.history[how](null, "", wanted);
  apply();
}

function read() {
  const hash = window.location.hash.slice(1);
  // Another place of the page is no choice of filters.
  if (hash && !hash.includes("=")) return apply();
  const found = new URLSearchParams(hash);
  for (const box of boxes) box.checked = (found.get(box.name) ?? "").split(",").includes(box.value);
  text.value = found.get("text") ?? "";
  const wanted = found.get("build") ?? atFirst;
  build.value = wanted === "all" ? "" : wanted;
  if (build.selectedIndex < 0) build.value = atFirst;
  compact.checked = (found.get("view") ?? table.dataset.default) === "compact";
  keepBuildWithin();
  apply();
}

let typing = false;
text.addEventListener("input", () => {
  write(typing ? "replaceState" : "pushState");
  typing = true;
});
text.addEventListener("change", () => (typing = false));
text.addEventListener("blur", () => (typing = false));
filters.addEventListener("change", (event) => {
  if (event.target === text) return;
  keepBuildWithin();
  write("pushState");
});
filters.addEventListener("submit", (event) => event.preventDefault());
reset.addEventListener("click", () => {
  for (const box of boxes) box.checked = false;
  text.value = "";
  build.value = atFirst;
  write("pushState");
  text.focus();
});
window.addEventListener("popstate", read);
document.addEventListener("click", (event) => {
  const more = document.getElementById("more");
  if (more.open && !more.contains(event.target) && !phone) more.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.getElementById("more").contains(document.activeElement)) document.getElementById("more").open = false;
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  event.preventDefault();
  text.focus();
});

// Arrows go from cell to cell, and the head says which build that is.
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
table.addEventListener("keydown", (event) => {
  const cell = event.target.closest("tr.issue > td");
  const [down, right] = STEPS[event.key] ?? [];
  if (!cell || down === undefined) return;
  const seen = rows.filter((row) => !row.hidden);
  let [row, at] = [seen.indexOf(cell.parentElement), cell.cellIndex];
  for (;;) {
    [row, at] = [row + down, at + right];
    const next = seen[row]?.cells[at];
    if (!next || at < 1) return;
    const link = !next.hidden && next.querySelector("a.on-build:not([hidden])");
    if (link) {
      event.preventDefault();
      return link.focus();
    }
  }
});
function light(event) {
  const id = event.target.closest("td[data-id]")?.dataset.id;
  for (const head of heads) head.classList.toggle("lit", head.dataset.id === id);
}
table.addEventListener("pointerover", light);
table.addEventListener("focusin", light);
read();
