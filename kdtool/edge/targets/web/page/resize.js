// Pillow's resize in JavaScript, equal to the last bit. A canvas must not do it: it scales otherwise.
// Source: src/libImaging/Resample.c of Pillow 13. The arithmetic is that of all versions since 3.4, but
// for the order of the two passes: tall images may begin with their columns since 13.0.

const PRECISION_BITS = 32 - 8 - 2;

/**
 * Resize the shorter side (bilinear with antialiasing) and crop the centre, as `fit` in picture.py.
 *
 * @param {{width: number, height: number, channels: number, pixels: Uint8Array}} image
 * @param {boolean} columnsFirst as Pillow 13 resizes images that lose much more height than width
 * @returns {{width: number, height: number, channels: number, pixels: Uint8Array}}
 */
export function fit(image, width, height, columnsFirst) {
  const { width: wide, height: high } = image;
  let scaledWidth = width;
  let scaledHeight = Math.max(height, Math.floor((width * high) / wide));
  if (height * wide >= width * high) {
    scaledWidth = Math.max(width, Math.floor((height * wide) / high));
    scaledHeight = height;
  }
  const left = Math.floor((scaledWidth - width) / 2);
  const top = Math.floor((scaledHeight - height) / 2);
  const box = [
    (left * wide) / scaledWidth,
    (top * high) / scaledHeight,
    ((left + width) * wide) / scaledWidth,
    ((top + height) * high) / scaledHeight,
  ];
  return resize(image, width, height, box, columnsFirst);
}

/** Return the part `box` (left, top, right, bottom) of an image, resized to `width` x `height`. */
export function resize(image, width, height, box, columnsFirst) {
  const [left, top, right, bottom] = box.map(Math.fround); // Pillow keeps the box in float32
  const rows = (one) => {
    if (width === one.width && left === 0 && right === width) return one;
    return alongRows(one, weights(image.width, left, right, width));
  };
  const columns = (one) => {
    if (height === one.height && top === 0 && bottom === height) return one;
    return alongColumns(one, weights(image.height, top, bottom, height));
  };
  const [lostRows, lostColumns] = [image.height - height, image.width - width];
  if (columnsFirst && lostRows > 0 && lostRows > 2 * lostColumns) return rows(columns(image));
  return columns(rows(image));
}

/** Return, for each new pixel, the first old pixel and the weights of those from there on. */
function weights(oldSize, start, end, newSize) {
  const scale = Math.fround(end - start) / newSize;
  const support = Math.max(scale, 1); // of the triangle, whose half width is 1
  return Array.from({ length: newSize }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(oldSize, Math.trunc(centre + support + 0.5));
    const triangle = new Float64Array(last - first);
    let sum = 0;
    for (let k = 0; k < triangle.length; k++) {
      triangle[k] = Math.max(0, 1 - Math.abs((k + first - centre + 0.5) * (1 / support)));
      sum += triangle[k];
    }
    const whole = triangle.map((one) => Math.trunc(0.5 + (one / sum) * 2 ** PRECISION_BITS));
    return { first, weights: Int32Array.from(whole) };
  });
}

function alongRows({ width, height, channels, pixels }, places) {
  const result = new Uint8Array(places.length * height * channels);
  let out = 0;
  for (let row = 0; row < height; row++) {
    for (const { first, weights } of places) {
      const start = (row * width + first) * channels;
      for (let channel = 0; channel < channels; channel++) {
        result[out++] = weighted(pixels, start + channel, channels, weights);
      }
    }
  }
  return { width: places.length, height, channels, pixels: result };
}

function alongColumns({ width, channels, pixels }, places) {
  const stride = width * channels;
  const result = new Uint8Array(places.length * stride);
  let out = 0;
  for (const { first, weights } of places) {
    for (let column = 0; column < stride; column++) {
      result[out++] = weighted(pixels, first * stride + column, stride, weights);
    }
  }
  return { width, height: places.length, channels, pixels: result };
}

/** Return the weighted sum of pixels, rounded: all weights are positive, and sum up to 2 ** 22. */
function weighted(pixels, start, step, weights) {
  let sum = 1 << (PRECISION_BITS - 1);
  for (let k = 0, place = start; k < weights.length; k++, place += step) {
    sum += pixels[place] * weights[k];
  }
  return Math.min(255, sum >> PRECISION_BITS);
}
