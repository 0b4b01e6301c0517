// Compiles chainwatch/chain/evm/reader.yul: `node build_reader.mjs FILE` prints the code as hexadecimal digits. It needs
// solc@0.8.30 in a node_modules folder above the working directory. For Istanbul, so that chains without the newer
// instructions (PUSH0) run it too.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const solc = createRequire(process.cwd() + "/")("solc");
const input = {
  language: "Yul",
  sources: { "reader.yul": { content: readFileSync(process.argv[2], "utf8") } },
  settings: {
    evmVersion: "istanbul",
    optimizer: { enabled: true, details: { yul: true } },
    outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const problem of output.errors ?? []) console.error(problem.formattedMessage);
console.log(output.contracts["reader.yul"].Reader.evm.bytecode.object);
