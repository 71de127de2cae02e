"""A front end for an ONNX model: images of any size, scaled and cropped to the model's."""

import onnx.parser
from onnx import ModelProto

from kdtool.edge.quantize import FRONT_END

# The size is torchvision's `Resize` of the shorter side; the values are Pillow's, bilinear with
# antialiasing and rounded to uint8, so that an image that has the size already passes unchanged.
# The Reshape changes nothing: it tells shape inference what the sizes are.
FRONT = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
resize (uint8[batch, height, width, {channels}] {image})
  => (uint8[batch, {h}, {w}, {channels}] sized)
<int64[2] size = {{{h}, {w}}}, int64[3] image_shape = {{{h}, {w}, {channels}}},
 int64[2] sides = {{1, 2}}, int64 two = {{2}}, float tiny = {{0.001}}>
{{
  given = Shape <start = 1, end = 3> ({image})
  floats = Cast <to = 1> (given)
  wanted = Cast <to = 1> (size)
  ratios = Div (wanted, floats)
  scale = ReduceMax <keepdims = 0> (ratios)
  exact = Mul (floats, scale)
  raised = Add (exact, tiny)
  whole = Cast <to = 7> (raised)
  scaled_size = Max (whole, size)
  scaled = Resize <antialias = 1, exclude_outside = 1, axes = [1, 2], mode = "linear",
    coordinate_transformation_mode = "half_pixel"> ({image}, , , scaled_size)
  margins = Sub (scaled_size, size)
  start = Div (margins, two)
  end = Add (start, size)
  cropped = Slice (scaled, start, end, sides)
  num_images = Shape <start = 0, end = 1> ({image})
  shape = Concat <axis = 0> (num_images, image_shape)
  sized = Reshape (cropped, shape)
}}
"""


def add_resize(model: ModelProto, size: tuple[int, int]) -> None:
    """Let `model` take images of any size: the shorter side is scaled, the centre is cropped.

    Args:
        model: Takes uint8 images `(N, H, W, C)`; opset 18 or above. Is changed.
        size: H, W of these.
    """
    (image,) = model.graph.input
    text = FRONT.format(
        ir_version=model.ir_version,
        opset=next(entry.version for entry in model.opset_import if entry.domain == ""),
        image=image.name,
        channels=image.type.tensor_type.shape.dim[3].dim_value,
        h=size[0],
        w=size[1],
    )
    front = onnx.parser.parse_model(text).graph
    for node in front.node:
        node.name = f"{FRONT_END}{node.output[0]}"
    old = list(model.graph.node)
    for node in old:
        node.input[:] = ["sized" if name == image.name else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend([*front.node, *old])
    model.graph.initializer.extend(front.initializer)
    image.CopyFrom(front.input[0])
