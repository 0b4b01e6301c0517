// Compiles Tokens.sol into Tokens.json: `npm install solc@0.8.30 && node build.mjs` in this folder.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const solc = createRequire(process.cwd() + "/")("solc");
const input = {
  language: "Solidity",
  sources: { "Tokens.sol": { content: readFileSync("Tokens.sol", "utf8") } },
  settings: {
    evmVersion: "paris",
    optimizer: { enabled: true },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.methodIdentifiers"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const problem of output.errors ?? []) console.error(problem.formattedMessage);
const contracts = {};
for (const [name, contract] of Object.entries(output.contracts["Tokens.sol"]))
  contracts[name] = { bytecode: "0x" + contract.evm.bytecode.object, selectors: contract.evm.methodIdentifiers };
writeFileSync("Tokens.json", JSON.stringify({ compiler: solc.version(), contracts }, null, 1) + "\n");
