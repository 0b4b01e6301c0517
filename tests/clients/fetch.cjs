// Node's own: the body by fetch (undici), and the same inflated by zlib, which insists on a valid trailer.
const http = require("node:http");
const zlib = require("node:zlib");
const { text } = require("node:stream/consumers");

const url = process.argv[2];
const strictly = () =>
  new Promise((resolve, reject) => {
    http.get(url, { headers: { "Accept-Encoding": "gzip" } }, (answer) =>
      resolve(text(answer.pipe(zlib.createGunzip({ finishFlush: zlib.constants.Z_FINISH }).on("error", reject)))),
    );
  });

(async () => {
  const fetched = await fetch(url);
  console.log(JSON.stringify({ coding: fetched.headers.get("content-encoding"), body: await fetched.text() }));
  console.log(JSON.stringify({ coding: "gzip", body: await strictly() }));
})();
