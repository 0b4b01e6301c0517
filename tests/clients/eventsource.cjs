// npm's eventsource, as its users write it: one line of JSON for each thing that it tells.
const { EventSource } = require("eventsource");

const tell = (what) => console.log(JSON.stringify(what));
const source = new EventSource(process.argv[2]);
source.onerror = () => tell({ kind: "error", closed: source.readyState === EventSource.CLOSED });
source.onmessage = ({ data, lastEventId }) => tell({ kind: "message", data, cursor: lastEventId });
for (const kind of ["connect", "gap", "complete"])
  source.addEventListener(kind, ({ data, lastEventId }) => tell({ kind, data, cursor: lastEventId }));
