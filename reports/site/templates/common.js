// The age of results, as it is when somebody looks: a page that lies around says so by itself.
const staleDays = Number(document.documentElement.dataset.staleDays);
for (const time of document.querySelectorAll("time.age")) {
  const minutes = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 60000));
  const [count, unit] =
    minutes < 60 ? [minutes, "min"] : minutes < 60 * 48 ? [Math.round(minutes / 60), "h"] : [Math.round(minutes / 1440), "days"];
  time.textContent = `${count} ${unit} ago`;
  if (minutes > staleDays * 1440) {
    const mark = document.createElement("span");
    mark.className = "flag stale";
    mark.title = `older than ${staleDays} days`;
    mark.textContent = "stale";
    time.after(" ", mark);
  }
}

// Where the browser lets a page copy, a command has a button for it.
for (const button of document.querySelectorAll("[data-copies]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      window.getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
  });
}

// A cell of the matrix has no room for its age, and says so where it is stale.
for (const one of document.querySelectorAll("[data-at]")) {
  if (Date.now() - Date.parse(one.dataset.at) > staleDays * 86400000) one.classList.add("stale");
}

// What is copied leads to this site, wherever it stands.
if (window.location.protocol.startsWith("http") && "up" in document.documentElement.dataset) {
  const site = new URL(document.documentElement.dataset.up || ".", window.location.href).href;
  const page = window.location.href.split("#")[0];
  for (const one of document.querySelectorAll("[data-relative]")) {
    const permalink = document.querySelector("a.permalink")?.href ?? page;
    one.textContent = one.textContent.replaceAll("SITE/", site).replaceAll("PERMALINK", permalink);
  }
}

// Skipping must not change the address, in which filters stand.
for (const link of document.querySelectorAll("a.skip")) {
  link.addEventListener("click", (event) => {
    const target = document.querySelector(link.hash);
    if (!target) return;
    event.preventDefault();
    if (!target.hasAttribute("tabindex")) target.tabIndex = -1;
    target.focus();
    target.scrollIntoView();
  });
}
