// Runs a program for WASI under Node: what `cargo test --target wasm32-wasip1` calls.
// usage: node .ci/wasi.mjs PROGRAM.wasm [ARGUMENT ..]       the program sees this environment
//
// A trap, which is what a panic ends in, is an error with its stack.
import { readFile } from "node:fs/promises";
import { setFlagsFromString } from "node:v8";
import process from "node:process";

// "WASI is an experimental feature", once for each program.
process.removeAllListeners("warning");
const { WASI } = await import("node:wasi");

// Optimised before it runs, not meanwhile: Node 20 sometimes crashed while it compiled in the background (once
// in some hundred programs, at their end or before). It takes a second at most.
setFlagsFromString("--no-liftoff");
// Node 20 has the relaxed instructions behind a flag; to later ones it means nothing.
setFlagsFromString("--experimental-wasm-relaxed-simd");

const wasi = new WASI({ version: "preview1", args: process.argv.slice(2), env: process.env, preopens: { ".": "." }, returnOnExit: true });
const module = await WebAssembly.compile(await readFile(process.argv[2]));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
