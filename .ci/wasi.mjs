// Runs a program for WASI under Node: what `cargo test --target wasm32-wasip1` calls.
// usage: node --single-threaded .ci/wasi.mjs PROGRAM.wasm [ARGUMENT ..]       the program sees this environment
//
// Without the flag, Node 20 crashed at the end of 6 of 12 runs of one program whose tests had all passed, while it
// still compiled in the background; with it in none. It has to be there from the start: set here, it crashes, too.
//
// A trap, which is what a panic ends in, is an error with its stack.
import { readFile } from "node:fs/promises";
import { setFlagsFromString } from "node:v8";
import process from "node:process";

// "WASI is an experimental feature", once for each program.
process.removeAllListeners("warning");
const { WASI } = await import("node:wasi");

// Optimised before it runs, not meanwhile. It takes a second at most.
setFlagsFromString("--no-liftoff");
// Node 20 has the relaxed instructions behind a flag; to later ones it means nothing.
setFlagsFromString("--experimental-wasm-relaxed-simd");

const wasi = new WASI({ version: "preview1", args: process.argv.slice(2), env: process.env, preopens: { ".": "." }, returnOnExit: true });
const module = await WebAssembly.compile(await readFile(process.argv[2]));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
