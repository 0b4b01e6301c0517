// npm's launchdarkly-eventsource.
const { EventSource } = require("launchdarkly-eventsource");

const tell = (what) => console.log(JSON.stringify(what));
const source = new EventSource(process.argv[2], { errorFilter: () => true });
source.on("closed", () => tell({ kind: "error", closed: true }));
source.onerror = () => tell({ kind: "error", closed: source.readyState === EventSource.CLOSED });
source.onmessage = ({ data, lastEventId }) => tell({ kind: "message", data, cursor: lastEventId });
for (const kind of ["connect", "gap", "complete"])
  source.addEventListener(kind, ({ data, lastEventId }) => tell({ kind, data, cursor: lastEventId }));
