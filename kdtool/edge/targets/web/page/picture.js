// From the bytes of an image file to the pixels that the model takes, as picture.py does it.

import { decodePng, needsOwnDecoder, pngChunks } from "./png.js";
import { fit } from "./resize.js";

const MAX_PIXELS = 89_478_485; // Pillow's limit, of `Image.MAX_IMAGE_PIXELS`
const MAX_CANVAS = 4_000_000; // pixels that are read at once: phones have no larger canvas than 16 million
const ORIENTATION = 0x112; // EXIF's tag

/**
 * Read an image file and bring it to the model's size.
 *
 * @param {Blob} file
 * @param {{height: ?number, width: ?number, channels: number, columns_first: boolean}} shape of the
 *   model, as in page.json; null: any size
 * @returns {Promise<{image: object, size: number[], note: string}>} `note`: what may differ from
 *   `kdtool predict`; may be empty
 */
export async function readImage(file, shape) {
  if (file.size === 0) throw new Error("it is an empty file, of 0 bytes");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const chunks = pngChunks(bytes);
  const isOurs = chunks && needsOwnDecoder(chunks);
  const picture = await (isOurs ? readPng(chunks) : readByBrowser(file));
  return { ...prepare(picture, shape), note: difference(bytes) };
}

/**
 * Bring RGBA pixels to the model's size and channels.
 *
 * @param {{width: number, height: number, rgba: Uint8Array}} picture
 */
export function prepare(picture, shape) {
  const { width, height } = picture;
  let image = opaque(picture, shape.channels);
  if (shape.width !== null) image = fit(image, shape.width, shape.height, shape.columns_first);
  return { image, size: [width, height] };
}

/** Return the pixels of a bitmap, a video or a canvas as RGBA. */
export function pixelsOf(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = Math.min(height, Math.ceil(MAX_CANVAS / width));
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  const rgba = new Uint8Array(width * height * 4);
  for (let top = 0; top < height; top += canvas.height) {
    context.clearRect(0, 0, width, canvas.height);
    context.drawImage(source, 0, -top);
    const rows = Math.min(canvas.height, height - top);
    rgba.set(context.getImageData(0, 0, width, rows).data, top * width * 4);
  }
  return { width, height, rgba };
}

async function readByBrowser(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
      imageOrientation: "from-image",
    });
  } catch {
    throw new Error("it is damaged, not an image, or in a format that this browser does not read");
  }
  try {
    checkSize(bitmap.width, bitmap.height);
    return pixelsOf(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

async function readPng(chunks) {
  const header = new DataView(chunks.IHDR.buffer, chunks.IHDR.byteOffset);
  checkSize(header.getUint32(0), header.getUint32(4));
  let picture;
  try {
    picture = await decodePng(chunks);
  } catch (error) {
    throw new Error(`it is damaged or truncated (${error.message})`, { cause: error });
  }
  return upright(picture, chunks.eXIf ? orientation(chunks.eXIf) : 1);
}

function checkSize(width, height) {
  if (width * height <= MAX_PIXELS) return;
  const [given, most] = [width * height, MAX_PIXELS].map((count) => Math.round(count / 1e6));
  throw new Error(`it has ${given} million pixels, and the limit is ${most} million`);
}

/** Return gray or RGB pixels of RGBA ones, transparent ones put on white. */
function opaque({ width, height, rgba }, channels) {
  const pixels = new Uint8Array(width * height * channels);
  for (let place = 0, out = 0; place < rgba.length; place += 4) {
    const alpha = rgba[place + 3];
    const red = onWhite(rgba[place], alpha);
    const green = onWhite(rgba[place + 1], alpha);
    const blue = onWhite(rgba[place + 2], alpha);
    if (channels === 1) {
      // ITU-R 601-2 in 16 bits. Source: `L24` in src/libImaging/Convert.c of Pillow.
      pixels[out++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    } else {
      pixels[out++] = red;
      pixels[out++] = green;
      pixels[out++] = blue;
    }
  }
  return { width, height, channels, pixels };
}

/** Source: src/libImaging/AlphaComposite.c of Pillow, over opaque white. */
function onWhite(value, alpha) {
  if (alpha === 255) return value;
  const sum = ((value * alpha + 255 * (255 - alpha)) << 7) + (0x80 << 7);
  return ((sum >> 8) + sum) >> 15;
}

/** Return the orientation in EXIF data, 1 (upright) to 8. */
function orientation(exif) {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let k = 0; k < view.getUint16(directory, little); k++) {
      const entry = directory + 2 + 12 * k;
      if (view.getUint16(entry, little) === ORIENTATION) return view.getUint16(entry + 8, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the data end too early
  }
  return 1;
}

/** Source: EXIF 3.0, 4.6.5.1.4 (Orientation). */
function upright({ width, height, rgba }, turned) {
  if (!(turned >= 2 && turned <= 8)) return { width, height, rgba };
  const swapped = turned >= 5;
  const [wide, high] = swapped ? [height, width] : [width, height];
  const [from, to] = [new Uint32Array(rgba.buffer), new Uint32Array(width * height)];
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const right = [2, 3, 6, 7].includes(turned) ? wide - 1 - x : x;
      const down = [3, 4, 7, 8].includes(turned) ? high - 1 - y : y;
      to[y * wide + x] = swapped ? from[right * width + down] : from[down * width + right];
    }
  }
  return { width: wide, height: high, rgba: new Uint8Array(to.buffer) };
}

/** Return in what a browser's pixels of a file may differ from those of `kdtool predict`. */
function difference(bytes) {
  if (jpegChannels(bytes) === 4) {
    return "This JPEG has CMYK colours, which browsers convert in their own way: kdtool may answer otherwise.";
  }
  return "";
}

/** Return the number of channels of a JPEG file; 0 for another format. */
function jpegChannels(bytes) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return 0;
  for (let place = 2; place + 9 < bytes.length; ) {
    if (bytes[place] !== 0xff) return 0;
    const marker = bytes[place + 1];
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return bytes[place + 9];
    place += marker === 0xff ? 1 : 2 + bytes[place + 2] * 256 + bytes[place + 3];
  }
  return 0;
}
