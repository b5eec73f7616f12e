// A task that runs, live: what happens brings the page up to date, epochs go on the chart.

const SOONEST = 1000;
const KINDS = ["task.state", "task.progress", "task.epoch", "task.warning", "task.labels"];
let due = 0;

function refresh() {
  if (due) return;
  due = setTimeout(() => {
    due = 0;
    const now = document.getElementById("now");
    if (now.dataset.events) htmx.trigger(now, "news");
  }, SOONEST);
}

function told(event) {
  refresh();
  if (event.type !== "task.epoch") return;
  const { epoch, losses } = JSON.parse(event.data).data;
  const card = document.getElementById("losses");
  card.hidden = epoch < 2; // of one epoch there is no line
  card.querySelector("[data-chart]").dispatchEvent(new CustomEvent("epoch", { detail: { epoch, losses } }));
}

const stream = new EventSource(document.getElementById("now").dataset.events);
for (const kind of KINDS) stream.addEventListener(kind, told);
document.addEventListener("htmx:afterSettle", () => {
  if (!document.getElementById("now").dataset.events) stream.close();
});
