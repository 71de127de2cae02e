// The page: what its buttons do, and what it says.

import { answer, checkGolden, classify, load, resource, resourceJson } from "./classifier.js";
import { pixelsOf, prepare } from "./picture.js";

const MOST_BARS = 5;
const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

function element(tag, attributes = {}, ...content) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...content);
  return made;
}

/** Show the outcome of the golden check, in words and colour. */
function showCheck({ passed, numImages, numSame, numPixels, largest, tolerance }) {
  const rounded = largest < 0.001 ? largest.toExponential(0) : largest.toPrecision(1);
  const difference = `Largest difference of a probability: ${rounded}, allowed: ${tolerance}.`;
  const verdict = passed
    ? `Check passed: ${numSame} of ${numImages} golden images have the expected answers.`
    : `Check FAILED: ${numSame} of ${numImages} golden images have the expected answers. Do not rely on this page.`;
  const changed =
    "This browser changes the pixels of images, perhaps to prevent fingerprinting: " +
    `only ${numPixels} of ${numImages} golden images have the pixels of their files. Allow this page to read canvases.`;
  say(passed ? "passed" : "failed", verdict, numPixels < numImages ? `${difference} ${changed}` : difference);
}

function say(state, verdict, more) {
  at("check").className = `check ${state}`;
  at("check").replaceChildren(
    element("p", {}, element("strong", {}, verdict)),
    element("p", { className: "small" }, more),
  );
  document.body.dataset.state = state;
}

/** Show an image as the model gets it, and its answer. */
function show({ image, size, classes, milliseconds, note = "" }, name, { decision }, threads) {
  draw(at("view"), image);
  at("hint").hidden = true;
  at("view").hidden = false;
  const [wide, high] = size ?? [image.width, image.height];
  const isResized = wide !== image.width || high !== image.height;
  const isCropped = wide * image.height !== high * image.width;
  const change = isResized ? `, resized ${isCropped ? "and cropped " : ""}from ${wide} x ${high}` : "";
  at("caption").textContent = `${name}: what the model sees, ${image.width} x ${image.height}${change}`;
  at("view").setAttribute("aria-label", at("caption").textContent);
  const [first] = classes;
  at("said").replaceChildren(
    element("strong", {}, first.name),
    " ",
    element("span", {}, percent(first.probability)),
  );
  at("bars").replaceChildren(...classes.slice(0, MOST_BARS).map((one) => bar(one, decision)));
  const hidden = classes.length - MOST_BARS;
  at("rest").textContent = hidden > 0 ? `and ${hidden} more ${hidden === 1 ? "class" : "classes"}` : "";
  const cores = threads === 1 ? "1 thread" : `${threads} threads`;
  at("time").textContent = `Time of the model: ${milliseconds.toFixed(1)} ms, ${cores}`;
  at("note").textContent = note;
  at("answer").scrollIntoView({ block: "nearest" }); // on a phone it is below the image
}

function bar({ index, name, probability }, decision) {
  const filled = element("span", { className: "filled" });
  filled.style.width = percent(probability).replace(" ", "");
  const isPositive = decision?.positive === index;
  const threshold = isPositive ? ` (threshold ${percent(decision.threshold)})` : "";
  return element(
    "li",
    {},
    element("span", { className: "name" }, name),
    element("span", { className: "share" }, percent(probability) + threshold),
    element("span", { className: "track", ariaHidden: "true" }, filled),
  );
}

function draw(canvas, { width, height, channels, pixels }) {
  [canvas.width, canvas.height] = [width, height];
  const rgba = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let k = 0; k < width * height; k++) {
    for (let c = 0; c < 3; c++) rgba[4 * k + c] = pixels[k * channels + (channels === 1 ? 0 : c)];
  }
  canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
  canvas.classList.toggle("small-image", Math.max(width, height) < 100);
}

/** Return a function that runs an action, and says what went wrong. */
function tried(action) {
  return async (...given) => {
    at("problem").textContent = "";
    try {
      await action(...given);
    } catch (error) {
      at("problem").textContent = error.message;
    }
  };
}

async function start() {
  const facts = await resourceJson("page.json");
  const classifier = await load(facts);
  const golden = await resourceJson("golden/expected.json");
  for (const one of golden.images) one.blob = new Blob([await resource(`golden/${one.file}`)]);
  const outcome = await checkGolden(classifier, golden);
  showCheck(outcome);
  const display = (result, name) => show(result, name, facts, classifier.threads);
  showGolden(outcome.results, golden.images, display);

  const open = tried(async (file) => {
    const name = file.name || "The image";
    const result = await classify(classifier, file).catch((error) => {
      throw new Error(`Cannot read ${name}: ${error.message}.`, { cause: error });
    });
    display(result, name);
  });
  listen(open);
  listenToCamera(async (frame) => {
    const { image, size } = prepare(frame, facts);
    display({ ...(await answer(classifier, image)), size }, "Camera");
  });
  for (const name of ["choose", "paste", "camera"]) at(name).disabled = false;
  return { ...outcome, classifier };
}

function showGolden(results, images, display) {
  const items = results.map((result, k) => {
    const canvas = element("canvas");
    draw(canvas, result.image);
    const label = images[k].label;
    const button = element("button", { type: "button" }, canvas, element("span", {}, label));
    button.setAttribute("aria-label", `Golden image ${k + 1}: ${label}`);
    button.addEventListener("click", () => display(result, `Golden image ${k + 1}, of class ${label}`));
    return element("li", {}, button);
  });
  at("golden").replaceChildren(...items);
}

/** Open images that are chosen, dropped or pasted. */
function listen(open) {
  const openFirst = (files) => files.length > 0 && open(files[0]);
  at("choose").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", async () => {
    await openFirst(at("file").files);
    at("file").value = ""; // the same file may be chosen again
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    at("image").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) at("image").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    at("image").classList.remove("over");
    openFirst(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => openFirst(event.clipboardData.files));
  const paste = tried(async () => open(await pasted()));
  at("paste").addEventListener("click", paste);
}

async function pasted() {
  if (!navigator.clipboard?.read) {
    throw new Error("This browser has no clipboard for this page; press Ctrl+V (on a Mac Command+V) instead.");
  }
  const items = await navigator.clipboard.read().catch(() => {
    throw new Error("This browser did not allow the clipboard; press Ctrl+V (on a Mac Command+V) instead.");
  });
  for (const item of items) {
    const type = item.types.find((one) => one.startsWith("image/"));
    if (type) return item.getType(type);
  }
  throw new Error("There is no image in the clipboard.");
}

/** Show the camera, and hand over the frame that is on the screen when the button is pressed. */
function listenToCamera(take) {
  const video = at("video");
  const isOpen = () => video.srcObject !== null;
  const close = () => {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    turn(false);
  };
  const turn = (on) => {
    video.hidden = at("shoot").hidden = !on;
    at("choose").hidden = at("paste").hidden = on;
    at("camera").textContent = on ? "Close the camera" : "Use the camera";
    at("hint").hidden = on || !at("view").hidden;
    at("image").classList.toggle("filming", on);
  };
  const toggle = tried(async () => {
    if (isOpen()) return close();
    video.srcObject = await camera();
    turn(true);
    await video.play();
    at("shoot").focus();
  });
  const shoot = tried(async () => {
    if (!video.videoWidth) throw new Error("The camera has no picture yet: try again.");
    const frame = pixelsOf(video, video.videoWidth, video.videoHeight);
    close();
    at("camera").focus();
    await take(frame);
  });
  at("camera").addEventListener("click", toggle);
  at("shoot").addEventListener("click", shoot);
}

async function camera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(
      "This page has no camera: browsers allow it only for pages from https://, localhost or the disk.",
    );
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const reasons = {
      NotAllowedError: "The camera was not allowed for this page.",
      NotFoundError: "There is no camera on this device.",
      NotReadableError: "The camera is used by another program.",
    };
    throw new Error(reasons[error.name] ?? `The camera cannot be used: ${error.message}.`, { cause: error });
  }
}

const ready = start();
// For programs and tests: `kdtool.classify(blob)`, and `kdtool.answer(image)` for pixels of the model's
// size, as `prepare` in picture.js returns them.
globalThis.kdtool = {
  ready,
  classify: async (file) => classify((await ready).classifier, file),
  answer: async (image) => answer((await ready).classifier, image),
};
ready.catch((error) => say("failed", "The model cannot be loaded.", error.message));
