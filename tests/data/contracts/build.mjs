// Compiles each .sol of this folder into the .json beside it: `npm install solc@0.8.30 && node build.mjs` in here.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const solc = createRequire(process.cwd() + "/")("solc");
for (const file of readdirSync(".").filter((name) => name.endsWith(".sol"))) {
  const input = {
    language: "Solidity",
    sources: { [file]: { content: readFileSync(file, "utf8") } },
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
  for (const [name, contract] of Object.entries(output.contracts[file]))
    contracts[name] = { bytecode: "0x" + contract.evm.bytecode.object, selectors: contract.evm.methodIdentifiers };
  const told = { compiler: solc.version(), contracts };
  writeFileSync(file.replace(".sol", ".json"), JSON.stringify(told, null, 1) + "\n");
}
