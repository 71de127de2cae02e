// PNG files whose pixels a canvas would change: with transparency, 16 bits or EXIF data.
// Source: Portable Network Graphics (PNG) Specification, third edition.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // of each colour type
// Of the seven passes of an interlaced file: first column, first row, step of columns, of rows.
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/** Return the parts of a PNG file by name, or null if the bytes are another format. */
export function pngChunks(bytes) {
  if (SIGNATURE.some((byte, k) => bytes[k] !== byte)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks = { IDAT: [] };
  for (let place = 8; place + 12 <= bytes.length; ) {
    const length = view.getUint32(place);
    const name = String.fromCharCode(...bytes.subarray(place + 4, place + 8));
    const data = bytes.subarray(place + 8, place + 8 + length);
    if (name === "IDAT") chunks.IDAT.push(data);
    else chunks[name] ??= data;
    place += 12 + length;
  }
  return chunks;
}

/** Whether a canvas would give other pixels than the file holds. */
export function needsOwnDecoder({ IHDR, tRNS, eXIf, acTL }) {
  if (!IHDR || acTL) return false; // the browser reports what is broken, and knows animations
  const [bits, colour] = [IHDR[8], IHDR[9]];
  return bits === 16 || colour >= 4 || Boolean(tRNS || eXIf);
}

/**
 * Return the pixels of a PNG file as RGBA; of 16 bits the upper 8.
 *
 * @returns {Promise<{width: number, height: number, rgba: Uint8Array}>}
 */
export async function decodePng({ IHDR, PLTE, tRNS, IDAT }) {
  const header = new DataView(IHDR.buffer, IHDR.byteOffset, IHDR.byteLength);
  const [width, height] = [header.getUint32(0), header.getUint32(4)];
  const [bits, colour, , , interlaced] = IHDR.subarray(8);
  const channels = CHANNELS[colour];
  if (!channels || ![1, 2, 4, 8, 16].includes(bits)) throw new Error("its header is damaged");
  if (colour === 3 && !PLTE) throw new Error("it has no palette");
  const data = await inflate(IDAT);
  const pixel = pixelReader({ bits, colour, PLTE, tRNS });
  const rgba = new Uint8Array(width * height * 4);
  let place = 0;
  for (const [left, top, stepX, stepY] of interlaced ? PASSES : [[0, 0, 1, 1]]) {
    const columns = Math.ceil((width - left) / stepX);
    const rows = Math.ceil((height - top) / stepY);
    if (columns <= 0 || rows <= 0) continue;
    const length = Math.ceil((columns * channels * bits) / 8);
    let above = new Uint8Array(length);
    for (let row = 0; row < rows; row++) {
      const line = data.subarray(place + 1, place + 1 + length);
      if (line.length < length) throw new Error("it is truncated");
      unfilter(data[place], line, above, Math.ceil((channels * bits) / 8));
      for (let column = 0; column < columns; column++) {
        const target = (top + row * stepY) * width + left + column * stepX;
        pixel(line, column, rgba, 4 * target);
      }
      above = line;
      place += 1 + length;
    }
  }
  return { width, height, rgba };
}

/** Return the bytes of zlib streams; rejects if they are damaged. */
export async function inflate(parts, format = "deflate") {
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function unfilter(kind, line, above, step) {
  const predictors = [
    () => 0,
    (left) => left,
    (left, up) => up,
    (left, up) => (left + up) >> 1,
    paeth,
  ];
  const predict = predictors[kind];
  if (!predict) throw new Error("it is damaged");
  for (let k = 0; kind && k < line.length; k++) {
    const inside = k >= step;
    line[k] += predict(inside ? line[k - step] : 0, above[k], inside ? above[k - step] : 0);
  }
}

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

/** Return a function that copies one pixel of a line as RGBA. */
function pixelReader({ bits, colour, PLTE, tRNS }) {
  const channels = CHANNELS[colour];
  const sample = (line, index) => {
    if (bits >= 8) return line[(index * bits) / 8]; // of 16 bits the upper 8
    const shift = 8 - bits - ((index * bits) % 8);
    return (line[(index * bits) >> 3] >> shift) & (2 ** bits - 1);
  };
  const full = colour === 3 || bits >= 8 ? 1 : 255 / (2 ** bits - 1);
  const key = tRNS && (colour === 0 || colour === 2) && transparent(tRNS, channels, bits);
  return (line, column, rgba, target) => {
    const values = [0, 0, 0, 0];
    for (let k = 0; k < channels; k++) values[k] = sample(line, column * channels + k);
    if (colour === 3) {
      for (let k = 0; k < 3; k++) rgba[target + k] = PLTE[3 * values[0] + k] ?? 0;
      rgba[target + 3] = tRNS?.[values[0]] ?? 255;
      return;
    }
    const isGray = channels < 3;
    for (let k = 0; k < 3; k++) rgba[target + k] = values[isGray ? 0 : k] * full;
    const alpha = colour >= 4 ? values[channels - 1] : 255;
    rgba[target + 3] = key?.every((one, k) => one === values[k] * full) ? 0 : alpha;
  };
}

/**
 * Return the one transparent colour of a gray or RGB file, as Pillow takes it: with 16 bits there is
 * none, and with 2 or 4 it is compared with samples that were scaled to 8 already.
 */
function transparent(tRNS, channels, bits) {
  if (bits === 16) return null;
  const values = Array.from({ length: channels }, (_, k) => tRNS[2 * k] * 256 + tRNS[2 * k + 1]);
  return bits === 1 ? values.map((one) => (one ? 255 : 0)) : values;
}
