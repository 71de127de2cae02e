// The model in onnxruntime-web, and the check of its answers to the golden images.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { readImage } from "./picture.js";
import { inflate } from "./png.js";

const MAX_THREADS = 4;

/** Return the bytes of a file of this page: from the page itself, or from the server. */
export async function resource(name) {
  const inside = document.getElementById(name);
  if (inside) {
    inside.remove(); // its memory is needed
    return inflate([fromBase64(inside.textContent)], "gzip");
  }
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} is missing on the server (status ${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

export async function resourceJson(name) {
  return JSON.parse(new TextDecoder().decode(await resource(name)));
}

/** Load the runtime and the model. */
export async function load(facts) {
  const [wasm, model] = await Promise.all([resource(facts.wasm), resource("model.onnx")]);
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = wasm.buffer;
  // Threads share memory, which a browser allows only to an isolated page.
  const cores = Math.min(MAX_THREADS, navigator.hardwareConcurrency || 1);
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? cores : 1;
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  const session = await ort.InferenceSession.create(model, options);
  return { facts, session, threads: ort.env.wasm.numThreads };
}

/** Return the probability of each class. */
export async function probabilities({ facts, session }, image) {
  const input = facts.input === "tensor" ? asTensor(image) : asPixels(image);
  const { probabilities: output } = await session.run({ [session.inputNames[0]]: input }, ["probabilities"]);
  return Array.from(output.data);
}

function asPixels({ width, height, channels, pixels }) {
  return new ort.Tensor("uint8", pixels, [1, height, width, channels]);
}

function asTensor({ width, height, channels, pixels }) {
  const area = width * height;
  const planes = new Float32Array(pixels.length);
  for (let k = 0; k < pixels.length; k++) {
    planes[(k % channels) * area + Math.floor(k / channels)] = pixels[k] / 255;
  }
  return new ort.Tensor("float32", planes, [1, channels, height, width]);
}

/** Return the classes, the predicted one first, then by probability, as `describe` in predict.py. */
export function ranked({ classes, decision }, values) {
  const order = values.map((_, k) => k).sort((one, other) => values[other] - values[one]);
  let predicted = order[0];
  if (decision) {
    const { positive, threshold } = decision; // the model has two classes
    predicted = values[positive] >= Math.fround(threshold) ? positive : 1 - positive;
  }
  const rest = order.filter((k) => k !== predicted);
  return [predicted, ...rest].map((k) => ({ index: k, name: classes[k], probability: values[k] }));
}

/** Classify an image file; also the function for programs: `kdtool.classify(blob)`. */
export async function classify(classifier, file) {
  const { image, size, note } = await readImage(file, classifier.facts);
  return { ...(await answer(classifier, image)), size, note };
}

/** Run the model on pixels of its size. */
export async function answer(classifier, image) {
  const start = performance.now();
  const values = await probabilities(classifier, image);
  const milliseconds = performance.now() - start;
  return { image, milliseconds, probabilities: values, classes: ranked(classifier.facts, values) };
}

/**
 * Run the golden images, and compare pixels and probabilities with those of the export.
 *
 * @returns {Promise<object>} `passed`, and what it rests on
 */
export async function checkGolden(classifier, golden) {
  const { tolerance, images } = golden;
  let [numSame, numPixels, largest] = [0, 0, 0];
  const results = [];
  for (const { file, blob, adler32: expected, probabilities: wanted } of images) {
    const result = await classify(classifier, blob);
    const differences = result.probabilities.map((value, k) => Math.abs(value - wanted[k]));
    const difference = differences.some(Number.isNaN) ? Infinity : Math.max(...differences);
    numSame += difference <= tolerance;
    numPixels += adler32(result.image.pixels) === expected;
    largest = Math.max(largest, difference);
    results.push({ file, ...result });
  }
  const passed = numSame === images.length && numPixels === images.length;
  return { passed, numImages: images.length, numSame, numPixels, largest, tolerance, results };
}

/** Source: RFC 1950, section 8.2. */
export function adler32(bytes) {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  return high * 65536 + low;
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
