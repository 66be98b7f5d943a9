// The filters of the front page. What is chosen stands in the address, so that it can be sent and kept.
const filters = document.getElementById("filters");
const boxes = [...filters.querySelectorAll("input[type=checkbox]")];
const text = document.getElementById("text");
const shownCount = document.getElementById("shown");
const reset = document.getElementById("reset");
const rows = [...document.querySelectorAll("tr.issue")];
const columns = [...document.querySelectorAll(".matrix [data-product]")];
filters.hidden = false;
// On a phone the filters would push away what they are for.
if (window.matchMedia("(max-width: 46rem)").matches) document.getElementById("more").open = false;

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
  if (onBuild.querySelector(".stale")) carried.add("stale");
  return [...marks].some((mark) => carried.has(mark));
}

function apply() {
  const { product, area, verdict, substrate, builds, marks } = chosen();
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const concerns = (one) => allows(product, one.dataset.product) && !(builds && "superseded" in one.dataset);
  for (const one of columns) one.hidden = !concerns(one);
  for (const head of document.querySelectorAll(".matrix [data-span]")) {
    const width = columns.filter((one) => one.matches("th.build") && !one.hidden && head.dataset.span.split(" ").includes(one.dataset.track)).length;
    head.hidden = width === 0;
    if (width) head.colSpan = width;
  }
  let shown = 0;
  for (const row of rows) {
    let hits = 0;
    for (const onBuild of row.querySelectorAll(".on-build")) {
      onBuild.hidden = !allows(substrate, onBuild.dataset.substrate);
      if (!onBuild.hidden && !onBuild.parentElement.hidden && allows(verdict, onBuild.dataset.verdict) && marked(marks, row, onBuild)) hits += 1;
    }
    const wanted = hits > 0 || !(verdict || substrate || product || marks);
    row.hidden = !(wanted && allows(area, row.dataset.area) && words.every((word) => row.dataset.text.includes(word)));
    shown += row.hidden ? 0 : 1;
  }
  for (const group of document.querySelectorAll("tbody.area")) group.hidden = !group.querySelector("tr.issue:not([hidden])");
  const filtered = words.length > 0 || boxes.some((box) => box.checked);
  shownCount.textContent = shown === rows.length && !filtered ? "" : `${shown} of ${rows.length} issues`;
  reset.hidden = !filtered;
  document.getElementById("nothing").hidden = shown > 0;
}

function write() {
  const address = new URLSearchParams();
  for (const [name, values] of Object.entries(chosen())) address.set(name, [...values].join(","));
  if (text.value) address.set("text", text.value);
  const query = address.toString().replaceAll("%2C", ",");
  window.history.replaceState(null, "", query ? `#${query}` : "#");
  apply();
}

function read() {
  const address = new URLSearchParams(window.location.hash.slice(1));
  for (const box of boxes) box.checked = (address.get(box.name) ?? "").split(",").includes(box.value);
  text.value = address.get("text") ?? "";
  apply();
}

filters.addEventListener("input", write);
filters.addEventListener("submit", (event) => event.preventDefault());
reset.addEventListener("click", () => {
  for (const box of boxes) box.checked = false;
  text.value = "";
  write();
  text.focus();
});
window.addEventListener("hashchange", read);
read();
