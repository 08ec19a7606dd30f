"""Networks as ONNX files, niwaki.to_onnx: with numpy and onnx, without torch. docs/onnx.md says what a file holds."""
